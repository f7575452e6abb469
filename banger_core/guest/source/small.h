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
  READ = 0, WRITE = 1, CLOSE = 3, FSTAT = 5, IOCTL = 16, CLONE = 56, EXECVE = 59, WAIT4 = 61,
  FCNTL = 72, SETSID = 112, EXIT_GROUP = 231, INOTIFY_ADD_WATCH = 254, PPOLL = 271, DUP3 = 292,
  INOTIFY_INIT1 = 294
};
enum { MODE_AT = 24 }; /* in struct stat */
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
  DUP3 = 24, FCNTL = 25, INOTIFY_INIT1 = 26, INOTIFY_ADD_WATCH = 27, IOCTL = 29, CLOSE = 57,
  READ = 63, WRITE = 64, PPOLL = 73, FSTAT = 80, EXIT_GROUP = 94, SETSID = 157, CLONE = 220,
  EXECVE = 221, WAIT4 = 260
};
enum { MODE_AT = 16 };
#endif

enum { POLLIN = 1, POLLOUT = 4, EAGAIN = 11, SIGCHLD = 17, WNOHANG = 1 };

struct pollfd {
  int fd;
  short events, revents;
};

static inline __attribute__((always_inline, noreturn)) void leave(long status) {
  call(EXIT_GROUP, status, 0, 0, 0, 0);
  __builtin_unreachable();
}

/* Write all of it, or return that this is not possible any more. */
static inline __attribute__((always_inline)) int written(const char *from, long count) {
  do {
    long done = call(WRITE, 1, (long)from, count, 0, 0);
    if (done <= 0) return 0;
    from += done;
    count -= done;
  } while (count);
  return 1;
}
