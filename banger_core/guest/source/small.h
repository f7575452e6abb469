/* What small programs for the guest need of Linux: no library, no data, all memory on the stack. */

#ifdef __x86_64__
__asm__(".globl _start\n_start: mov %rsp, %rdi\n\tjmp begin");

static inline __attribute__((always_inline)) long call(long number, long a, long b, long c, long d,
                                                       long e) {
  register long fourth __asm__("r10") = d, fifth __asm__("r8") = e;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
                   : "rcx", "r11", "memory");
  return result;
}

enum {
  READ = 0, WRITE = 1, CLOSE = 3, SIGACTION = 13, SIGPROCMASK = 14, IOCTL = 16, PREAD = 17,
  PWRITE = 18, CLONE = 56, EXECVE = 59, WAIT4 = 61, FCNTL = 72, FLOCK = 73, SETSID = 112,
  EXIT_GROUP = 231, INOTIFY_ADD_WATCH = 254, PPOLL = 271, FALLOCATE = 285, SIGNALFD = 289,
  DUP3 = 292, PIPE2 = 293, INOTIFY_INIT1 = 294
};
#else
__asm__(".globl _start\n_start: mov x0, sp\n\tb begin");

static inline __attribute__((always_inline)) long call(long number, long a, long b, long c, long d,
                                                       long e) {
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = e;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}

enum {
  DUP3 = 24, FCNTL = 25, INOTIFY_INIT1 = 26, INOTIFY_ADD_WATCH = 27, IOCTL = 29, FLOCK = 32,
  FALLOCATE = 47, CLOSE = 57, PIPE2 = 59, READ = 63, WRITE = 64, PREAD = 67, PWRITE = 68,
  PPOLL = 73, SIGNALFD = 74, EXIT_GROUP = 94, SIGACTION = 134, SIGPROCMASK = 135, SETSID = 157,
  CLONE = 220, EXECVE = 221, WAIT4 = 260
};
#endif

enum { POLLIN = 1, POLLOUT = 4, EAGAIN = 11, ENOSPC = 28, O_NONBLOCK = 0x800, O_CLOEXEC = 0x80000 };
enum { LOCK_SH = 1, LOCK_EX = 2, LOCK_NB = 4, LOCK_UN = 8 };

/* A log: how many bytes were ever written to it, and then a ring of the last of them. What is in
   the ring at most PIECE before its end may be on its way to be overwritten. */
enum { HEAD = sizeof(long), RING = 1 << 18, PIECE = 4096 };

struct pollfd {
  int fd;
  short events, revents;
};

static inline __attribute__((always_inline)) struct pollfd watched(long fd, short events) {
  struct pollfd file;
  file.fd = (int)fd;
  file.events = events;
  file.revents = 0;
  return file;
}

static inline __attribute__((always_inline)) long least(long one, long other) {
  return one < other ? one : other;
}

static inline __attribute__((always_inline, noreturn)) void leave(long status) {
  call(EXIT_GROUP, status, 0, 0, 0, 0);
  __builtin_unreachable();
}
