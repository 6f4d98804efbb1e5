;; A plugin of 4 MiB memory whose `on-load` returns 1000 actions that all carry
;; the same 1 MiB: little in its own memory, a gigabyte on the host's side.
;; Written by hand, since no compiler makes such a list.
(module
  (memory (export "memory") 64)
  ;; Behind the list of actions.
  (global $free (mut i32) (i32.const 0x200000))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (local.get $at))

  ;; Where results are written: all zeros is `ok` of nothing.
  (func (export "init") (param i32 i32) (result i32) (i32.const 16))

  (func (export "on-load") (param i64 i64 i32) (result i32)
    (local $item i32)
    (local $left i32)
    (local.set $item (i32.const 0x10000))
    (local.set $left (i32.const 1000))
    (loop $next
      (i32.store8 (local.get $item) (i32.const 4)) ;; set-state
      (i32.store offset=8 (local.get $item) (i32.const 0x100000))
      (i32.store offset=12 (local.get $item) (i32.const 0x100000))
      (local.set $item (i32.add (local.get $item) (i32.const 80)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $next (local.get $left)))
    (i32.store offset=4 (i32.const 64) (i32.const 0x10000))
    (i32.store offset=8 (i32.const 64) (i32.const 1000))
    (i32.const 64))

  (func (export "on-open") (param i32) (result i32) unreachable)
  (func (export "on-message")
    (param i64 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    unreachable)
  (func (export "on-subscribe")
    (param i64 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)
  (func (export "on-publish")
    (param i64 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32) (result i32)
    unreachable)
  (func (export "on-attached")
    (param i64 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)
  (func (export "on-detached")
    (param i64 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)
  (func (export "on-closed")
    (param i64 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)
  (func (export "on-timer")
    (param i64 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)
  (func (export "migrate")
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable))
