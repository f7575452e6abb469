#include "small.h"

enum { IN_MODIFY = 2, IN_CLOSE_WRITE = 8, KEPT = RING - PIECE };

static inline __attribute__((always_inline)) long written_so_far(void) {
  long total;
  /* Of a log that has only been opened yet nothing is there */
  return call(PREAD, 0, (long)&total, HEAD, 0, 0) == HEAD ? total : 0;
}

static inline __attribute__((always_inline)) long most(long one, long other) {
  return one > other ? one : other;
}

__attribute__((used, noreturn)) void begin(long *stack) {
  char **argv = (char **)stack + 1, *digit, data[PIECE];
  long bytes = 0, changes = -1, total, at, count, done, grows = *stack > 2, time[2];
  struct pollfd files[2];

  for (digit = argv[1]; *digit; digit++) bytes = bytes * 10 + (*digit - '0');
  if (grows) {
    changes = call(INOTIFY_INIT1, O_NONBLOCK, 0, 0, 0, 0);
    if (changes < 0) leave(125);
    if (call(INOTIFY_ADD_WATCH, changes, (long)argv[2], IN_MODIFY | IN_CLOSE_WRITE, 0, 0) < 0)
      leave(125);
  }
  total = written_so_far();
  at = most(0, total - least(bytes, KEPT));
  for (;;) {
    /* Asked first: what was written before that is there now */
    if (grows && !call(FLOCK, 0, LOCK_SH | LOCK_NB, 0, 0, 0)) grows = 0;
    while (at < (total = written_so_far())) {
      count = least(least(PIECE, total - at), RING - at % RING);
      count = call(PREAD, 0, (long)data, count, HEAD + at % RING, 0);
      if (count <= 0) leave(125);
      total = written_so_far();
      if (at < total - KEPT) {
        /* It was written faster than it was read: a part is lost */
        at = total - KEPT / 2;
        continue;
      }
      at += count;
      for (digit = data; count; digit += done, count -= done) {
        done = call(WRITE, 1, (long)digit, count, 0, 0);
        if (done <= 0) leave(1);
      }
    }
    if (!grows) leave(0);
    files[0] = watched(changes, POLLIN);
    files[1] = watched(1, 0);
    /* A keeper that was killed cannot say that it ends */
    time[0] = 1;
    time[1] = 0;
    call(PPOLL, (long)files, 2, (long)time, 0, sizeof(long));
    if (files[1].revents) leave(1);
    while (call(READ, changes, (long)data, sizeof data, 0, 0) > 0) {
    }
  }
}
