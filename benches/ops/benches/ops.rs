//! How long each operation takes on this machine: `benches/steady time`.

use cometbox_ops::Operation;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::{Duration, Instant};

fn bench(criterion: &mut Criterion, operation: &Operation) {
    let (group, name) = operation.name.split_once('/').expect("a room and what is done in it");
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(operation.per_step));
    group.bench_function(name, |bencher| {
        let mut work = (operation.prepare)();
        bencher.iter_custom(|steps| {
            let mut total = Duration::ZERO;
            for _ in 0..steps {
                let started = Instant::now();
                work.step();
                total += started.elapsed();
                work.reset();
            }
            total
        });
    });
    group.finish();
}

fn all(criterion: &mut Criterion) {
    for operation in cometbox_ops::all() {
        bench(criterion, &operation);
    }
}

criterion_group! {
    name = operations;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = all
}
criterion_main!(operations);
