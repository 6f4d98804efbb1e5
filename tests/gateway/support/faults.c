/* What the system does for a gateway, changed as a test says: reads and syncs
   that take long or do not end, writes and syncs that fail, syncs that do
   nothing, a calendar that jumps. To be loaded by LD_PRELOAD.

   What the disk has of a store is kept aside, if the test wants it: a sync of the
   log brings the pages there that were written since the last one, and a sync of
   the file all of it. What is not there is gone when the power fails.

   A sync that fails does what it does on Linux: the pages that it was for count
   as clean, so that no later sync writes them, though they can be read. Which
   ones the disk lacks is noted, until they are written once more. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096
/* Of a write-ahead log: 64 MiB. What lies behind is not looked after. */
#define MAX_PAGES 16384

/* Shared with the test; faults.rs knows the places of the fields. */
struct control {
    /* Said by the test. */
    volatile uint64_t sync_ms;     /* a sync takes so long */
    volatile uint64_t syncs_stop;  /* while it is not 0, no sync ends */
    volatile uint64_t write_error; /* errno of writes to a store; 0: none */
    volatile uint64_t sync_error;  /* and of syncs of its log */
    volatile uint64_t file_error;  /* and, once that was synced, of its file */
    volatile int64_t calendar_ms;  /* the calendar is ahead by so much */
    volatile uint64_t read_ms;     /* a read of a store takes so long */
    volatile uint64_t syncs_lie;   /* syncs say yes and do nothing */
    volatile uint64_t has_disk;    /* what was synced, of one store, is kept aside */
    /* Told to it. */
    volatile uint64_t writes;
    volatile uint64_t syncs;         /* that have ended well */
    volatile uint64_t waiting_syncs; /* that have not ended */
    /* Of the log, for each page. */
    volatile unsigned char dirty[MAX_PAGES];
    volatile unsigned char lost[MAX_PAGES];
};

static struct control *control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("COMETBOX_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED)
        control = at;
    close(fd);
}

/* What the system would have called. */
#define REAL(name)                                              \
    static __typeof__(name) *real;                              \
    if (!real)                                                  \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

enum kind { OTHER, STORE, LOG };

/* Else the test would blame the gateway. */
static void fail(const char *what) {
    perror(what);
    abort();
}

/* Brings what is in a file to the disk: of the log, the pages that are dirty. (The
   journal by which SQLite makes a new file passes for that file, whose own sync
   comes behind it and before anything is served.) */
static void bring(int fd, enum kind kind) {
    char path[4096], page[PAGE_BYTES];
    struct stat file;
    snprintf(path, sizeof path, "%s-%s", getenv("COMETBOX_FAULTS"), kind == LOG ? "log" : "file");
    int disk = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (disk < 0 || fstat(fd, &file) || ftruncate(disk, file.st_size))
        fail(path);
    for (uint64_t at = 0; at < (uint64_t)file.st_size; at += PAGE_BYTES) {
        uint64_t number = at / PAGE_BYTES;
        if (kind == LOG && (number >= MAX_PAGES || !control->dirty[number]))
            continue;
        ssize_t length = pread(fd, page, sizeof page, (off_t)at);
        if (length < 0 || pwrite(disk, page, (size_t)length, (off_t)at) != length)
            fail(path);
    }
    close(disk);
}

/* What kind of file that is, by its name. */
static enum kind kind_of(int fd) {
    char link[32], path[4096];
    if (!control)
        return OTHER;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return OTHER;
    path[length] = 0;
    if (!strstr(path, ".sqlite"))
        return OTHER;
    return strcmp(path + length - 4, "-wal") ? STORE : LOG;
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    REAL(pread64);
    if (control && control->read_ms && kind_of(fd) != OTHER)
        usleep((useconds_t)(control->read_ms * 1000));
    return real(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    enum kind kind = kind_of(fd);
    if (kind != OTHER && control->write_error) {
        errno = (int)control->write_error;
        return -1;
    }
    ssize_t done = real(fd, bytes, count, at);
    if (kind == LOG && done > 0) {
        uint64_t last = ((uint64_t)at + (uint64_t)done - 1) / PAGE_BYTES;
        for (uint64_t page = (uint64_t)at / PAGE_BYTES; page <= last && page < MAX_PAGES; page++) {
            control->dirty[page] = 1;
            control->lost[page] = 0;
        }
    }
    if (kind != OTHER)
        __atomic_add_fetch(&control->writes, 1, __ATOMIC_SEQ_CST);
    return done;
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    int result = real(fd, size);
    if (result == 0 && kind_of(fd) == LOG) {
        for (uint64_t page = ((uint64_t)size + PAGE_BYTES - 1) / PAGE_BYTES; page < MAX_PAGES; page++)
            control->dirty[page] = control->lost[page] = 0;
    }
    return result;
}

int fsync(int fd) {
    REAL(fsync);
    enum kind kind = kind_of(fd);
    if (kind == OTHER)
        return real(fd);
    __atomic_add_fetch(&control->waiting_syncs, 1, __ATOMIC_SEQ_CST);
    usleep((useconds_t)(control->sync_ms * 1000));
    while (control->syncs_stop)
        usleep(1000);
    static int log_was_synced;
    if (control->syncs_lie) {
        __atomic_sub_fetch(&control->waiting_syncs, 1, __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&control->syncs, 1, __ATOMIC_SEQ_CST);
        return 0;
    }
    int result = real(fd), error = 0;
    if (kind == LOG) {
        error = (int)control->sync_error;
        log_was_synced = 1;
    } else if (log_was_synced) {
        error = (int)control->file_error;
    }
    if (control->has_disk && !error)
        bring(fd, kind);
    for (uint64_t page = 0; kind == LOG && page < MAX_PAGES; page++) {
        control->lost[page] |= error ? control->dirty[page] : 0;
        control->dirty[page] = 0;
    }
    __atomic_sub_fetch(&control->waiting_syncs, 1, __ATOMIC_SEQ_CST);
    if (error) {
        errno = error;
        return -1;
    }
    __atomic_add_fetch(&control->syncs, 1, __ATOMIC_SEQ_CST);
    return result;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    REAL(clock_gettime);
    int result = real(clock, at);
    if (result == 0 && clock == CLOCK_REALTIME && control)
        at->tv_sec += control->calendar_ms / 1000;
    return result;
}
