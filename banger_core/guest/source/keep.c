#include "small.h"

enum { INPUT = 0, MASTER = 3, GROUP = 4, LOG = 5, STATUS = 6 };
enum { TIOCSCTTY = 0x540e, TIOCSWINSZ = 0x5414, TIOCSPTLCK = 0x40045431, TIOCGPTPEER = 0x5441 };
enum { O_RDWR = 2, O_NOCTTY = 0x100, F_SETFL = 4, WNOHANG = 1, SIG_BLOCK = 0, SIG_UNBLOCK = 1 };
enum { SIGUSR1 = 10, SIGPIPE = 13, SIGCHLD = 17, SIGNALS = 64 };
enum { SIZE = 24 | 80 << 16 }; /* rows and columns, until somebody attaches */
enum { LAST_LOOKS = 64, PATIENCE = 200000000 };

static inline __attribute__((always_inline)) void add(long *total, const char *from, long count) {
  while (count > 0) {
    long at = *total % RING, part = least(count, RING - at);
    /* Where that fails there is nothing to be done: the program must go on all the same */
    call(PWRITE, LOG, (long)from, part, HEAD + at, 0);
    *total += part, from += part, count -= part;
  }
  call(PWRITE, LOG, (long)total, HEAD, 0, 0);
}

static inline __attribute__((always_inline, noreturn)) void become(char **argv, char **environment,
                                                                   long terminal, long in, long out,
                                                                   long signals) {
  long nothing[4], number;
  call(SETSID, 0, 0, 0, 0, 0);
  if (terminal) call(IOCTL, out, TIOCSCTTY, 0, 0, 0);
  call(DUP3, in, 0, 0, 0, 0);
  call(DUP3, out, 1, 0, 0, 0);
  call(DUP3, out, 2, 0, 0, 0);
  call(CLOSE, MASTER, 0, 0, 0, 0);
  call(CLOSE, LOG, 0, 0, 0, 0);
  call(CLOSE, STATUS, 0, 0, 0, 0);
  /* Whoever started this may have been told to ignore some */
  nothing[0] = nothing[1] = nothing[2] = nothing[3] = 0;
  for (number = 1; number <= SIGNALS; number++)
    call(SIGACTION, number, (long)nothing, 0, sizeof(long), 0);
  call(SIGPROCMASK, SIG_UNBLOCK, (long)&signals, 0, sizeof(long), 0);
  call(EXECVE, (long)argv[2], (long)(argv + 2), (long)environment, 0, 0);
  leave(127);
}

static inline __attribute__((always_inline)) void tell(int status) {
  char text[4], *at = text + 3;
  int value = status & 127 ? 128 + (status & 127) : status >> 8 & 255;
  *at = '\n';
  do {
    *--at = (char)('0' + value % 10);
    value /= 10;
  } while (value);
  call(WRITE, STATUS, (long)at, text + 4 - at, 0, 0);
}

static inline __attribute__((always_inline)) long nonblocking(long file) {
  call(FCNTL, file, F_SETFL, O_NONBLOCK, 0, 0);
  return file;
}

__attribute__((used, noreturn)) void begin(long *stack) {
  char **argv = (char **)stack + 1, **environment = argv + *stack + 1;
  char data[PIECE], keys[1024];
  long terminal = argv[1][0] == 't';
  /* A program that reads no more must not end this one */
  long signals = 1L << (SIGCHLD - 1) | 1L << (SIGUSR1 - 1) | 1L << (SIGPIPE - 1);
  /* Where its output comes from and its input goes to; its own ends of both */
  long source, target, in, out;
  long changes, pid, count, total = 0, input = INPUT, pending = 0, at = 0, time[2];
  int ended = 0, closing = 0, looks = LAST_LOOKS, status = 0, pair[2];
  int signal[32]; /* struct signalfd_siginfo */
  struct pollfd files[4];

  call(FLOCK, LOG, LOCK_EX, 0, 0, 0);
  /* Some file systems in memory know nothing of this, and have no end either */
  if (call(FALLOCATE, LOG, 0, 0, HEAD + RING, 0) == -ENOSPC) leave(125);
  call(SIGPROCMASK, SIG_BLOCK, (long)&signals, 0, sizeof(long), 0);
  changes = call(SIGNALFD, -1, (long)&signals, sizeof(long), O_NONBLOCK | O_CLOEXEC, 0);
  if (changes < 0) leave(125);
  if (terminal) {
    pair[0] = 0;
    call(IOCTL, MASTER, TIOCSPTLCK, (long)pair, 0, 0);
    source = target = MASTER;
    /* Held open until the program has ended: nobody hangs up before */
    in = out = call(IOCTL, MASTER, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC, 0, 0);
    if (out < 0) leave(125);
    time[0] = SIZE;
    time[1] = 0;
    call(IOCTL, out, TIOCSWINSZ, (long)time, 0, 0);
  } else {
    if (call(PIPE2, (long)pair, O_CLOEXEC, 0, 0, 0) < 0) leave(125);
    source = pair[0];
    out = pair[1];
    if (call(PIPE2, (long)pair, O_CLOEXEC, 0, 0, 0) < 0) leave(125);
    in = pair[0];
    target = pair[1];
  }
  pid = call(CLONE, SIGCHLD, 0, 0, 0, 0);
  if (!pid) become(argv, environment, terminal, in, out, signals);
  if (pid < 0) leave(125);
  call(CLOSE, GROUP, 0, 0, 0, 0);
  nonblocking(source);
  nonblocking(target);
  nonblocking(input);
  if (!terminal) {
    call(CLOSE, in, 0, 0, 0, 0);
    call(CLOSE, out, 0, 0, 0, 0);
    out = -1;
  }

  while (!ended || source >= 0) {
    files[0] = watched(changes, POLLIN);
    files[1] = watched(source, POLLIN);
    files[2] = watched(pending ? -1 : input, POLLIN);
    files[3] = watched(target, pending ? POLLOUT : 0);
    time[0] = 0;
    time[1] = PATIENCE;
    count = call(PPOLL, (long)files, 4, ended ? (long)time : 0, 0, sizeof(long));
    /* What the program left behind may have its end of this still: that is not waited for */
    if (ended && (!count || !looks--)) break;
    if (files[0].revents) {
      signal[0] = 0;
      call(READ, changes, (long)signal, sizeof signal, 0, 0);
      if (signal[0] == SIGUSR1) closing = !terminal;
      if (!ended && call(WAIT4, pid, (long)&status, WNOHANG, 0, 0) == pid) {
        ended = 1;
        call(CLOSE, out, 0, 0, 0, 0);
      }
    }
    if (files[1].revents) {
      count = call(READ, source, (long)data, PIECE, 0, 0);
      if (count > 0)
        add(&total, data, count);
      else if (count != -EAGAIN)
        source = -1;
    }
    if (files[3].revents & POLLOUT) {
      count = call(WRITE, target, (long)(keys + at), pending, 0, 0);
      if (count > 0) at += count, pending -= count;
    }
    if (!pending && input >= 0 && (files[2].revents || closing)) {
      at = 0;
      pending = call(READ, input, (long)keys, sizeof keys, 0, 0);
      if (pending < 0) pending = 0;
      closing = closing && pending ? 1 : -closing;
    }
    /* Its input was ended, or it reads no more: whoever writes to it is to notice */
    if (closing < 0 || (!terminal && files[3].revents & ~POLLOUT)) {
      call(CLOSE, target, 0, 0, 0, 0);
      call(CLOSE, input, 0, 0, 0, 0);
      target = input = -1;
      pending = closing = 0;
    }
  }
  tell(status);
  call(FLOCK, LOG, LOCK_UN, 0, 0, 0);
  leave(0);
}
