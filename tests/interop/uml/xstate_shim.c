/* Preloaded into user-mode Linux 6.1, which otherwise dies at its first process on CPUs with a large XSAVE area.
 *
 * UML saves the vector registers of its processes in a buffer of fixed size and restores them with
 * ptrace(PTRACE_SETREGSET, NT_X86_XSTATE). The host answers EFAULT unless the buffer has exactly the size of the
 * CPU's XSAVE area. Here such a short write becomes: read the whole area, replace its beginning, write it back.
 * glibc's ptrace is variadic and PEEK requests return through a pointer, hence the last lines. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PEEK_FIRST = 1, PEEK_LAST = 3, GETREGSET = 0x4204, SETREGSET = 0x4205, NT_X86_XSTATE = 0x202 };
enum { XSTATE_BV = 512 };     /* offset of the bit map of saved components in an XSAVE area */

static long host_ptrace(long request, long pid, void *address, void *data) {
  return syscall(SYS_ptrace, request, pid, address, data);
}

/* The components that lie wholly within the first `size` bytes: x87 and SSE, AVX, up to PKRU. */
static uint64_t components_within(size_t size) {
  return size >= 2696 ? 0x2ff : size >= 832 ? 0x7 : 0x3;
}

static long write_xstate(long pid, void *note, const struct iovec *given) {
  static __thread uint8_t area[65536] __attribute__((aligned(64)));
  struct iovec whole = { area, sizeof area };
  long result = host_ptrace(GETREGSET, pid, note, &whole);
  if (result < 0)
    return result;

  size_t size = given->iov_len < whole.iov_len ? given->iov_len : whole.iov_len;
  uint64_t host_map, map;
  memcpy(&host_map, area + XSTATE_BV, sizeof host_map);
  memcpy(area, given->iov_base, size);
  if (size < whole.iov_len) {
    uint64_t ours = components_within(size);
    memcpy(&map, area + XSTATE_BV, sizeof map);
    map = (map & ours) | (host_map & ~ours);
    memcpy(area + XSTATE_BV, &map, sizeof map);
  }
  return host_ptrace(SETREGSET, pid, note, &whole);
}

long ptrace(int request, ...) {
  va_list arguments;
  va_start(arguments, request);
  long pid = va_arg(arguments, int);
  void *address = va_arg(arguments, void *);
  void *data = va_arg(arguments, void *);
  va_end(arguments);

  if (request == SETREGSET && (long)address == NT_X86_XSTATE)
    return write_xstate(pid, address, data);
  if (request >= PEEK_FIRST && request <= PEEK_LAST) {
    long word;
    if (host_ptrace(request, pid, address, &word) < 0)
      return -1;
    errno = 0;
    return word;
  }
  return host_ptrace(request, pid, address, data);
}
