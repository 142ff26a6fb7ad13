/* Lets user-mode Linux before 6.13 run on processors with AMX.
 *
 * It sets a process's floating-point registers with PTRACE_SETREGSET and a buffer that is smaller
 * than such a processor's state, which the kernel refuses with EFAULT ("ptrace set fp regs failed,
 * errno = 14"). Preloaded into the user-mode kernel, this reads the whole state, puts the given
 * part over it and sets the whole. Everything else goes straight to the system call. */

#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

static long set_whole_state(pid_t pid, void *type, struct iovec *given)
{
	static char state[32768] __attribute__((aligned(64)));
	struct iovec whole = { state, sizeof state };

	if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, type, &whole) != 0 ||
	    whole.iov_len <= given->iov_len)
		return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, type, given);
	memcpy(state, given->iov_base, given->iov_len);
	return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, type, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);

	if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE)
		return set_whole_state(pid, address, data);
	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
		/* the system call stores the word; the C function returns it */
		long word;
		long result = syscall(SYS_ptrace, request, pid, address, &word);
		if (result < 0)
			return result;
		errno = 0;
		return word;
	}
	return syscall(SYS_ptrace, request, pid, address, data);
}
