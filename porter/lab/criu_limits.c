/* Lets CRIU read other users' resource limits where root lacks CAP_SYS_RESOURCE.
 *
 * The kernel answers prlimit(2) about a task of another user only to that capability, but shows
 * the same numbers to everybody in /proc/PID/limits. Without this, CRIU cannot dump a container
 * whose tasks run as any user but root on such a machine (a sandbox, a confined container). Set-up
 * builds it there and has the dynamic loader put it in front of libc for CRIU alone; it never
 * changes a limit. Declares what it uses, so that a compiler without any headers can build it.
 */

extern int *__errno_location(void);
extern void *dlsym(void *handle, const char *name);
extern int open(const char *path, int flags, ...);
extern long read(int fd, void *buffer, unsigned long size);
extern int close(int fd);
extern int snprintf(char *buffer, unsigned long size, const char *format, ...);
extern unsigned long strtoul(const char *text, char **end, int base);

struct limit {
	unsigned long soft;
	unsigned long hard;
};

#if defined(__aarch64__)
#define PRLIMIT64 261
#else
#define PRLIMIT64 302
#endif
#define EPERM 1
#define RTLD_NEXT ((void *)-1L)
#define O_CLOEXEC 02000000
/* Columns of /proc/PID/limits; its lines are in the order of the RLIMIT_ numbers. */
#define SOFT_COLUMN 26
#define HARD_COLUMN 47

static unsigned long number_at(const char *text)
{
	return *text == 'u' ? ~0UL : strtoul(text, 0, 10); /* "unlimited" */
}

static int read_limit(int pid, int resource, struct limit *limit)
{
	char path[32], text[4096];
	long size, at = 0;
	int fd, line;

	snprintf(path, sizeof(path), "/proc/%d/limits", pid);
	fd = open(path, O_CLOEXEC);
	if (fd < 0)
		return -1;
	size = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (size <= 0)
		return -1;
	text[size] = 0;
	for (line = 0; line <= resource; line++) { /* the first line is a heading */
		while (text[at] && text[at] != '\n')
			at++;
		if (!text[at++])
			return -1;
	}
	if (at + HARD_COLUMN >= size)
		return -1;
	limit->soft = number_at(text + at + SOFT_COLUMN);
	limit->hard = number_at(text + at + HARD_COLUMN);
	return 0;
}

/* CRIU asks through syscall(2)'s wrapper, so this stands in front of that one. A caller that gives
 * fewer than six arguments leaves rubbish in the rest, which the kernel ignores. */
long syscall(long number, long a, long b, long c, long d, long e, long f)
{
	static long (*next)(long, long, long, long, long, long, long);
	long result;

	if (!next)
		next = dlsym(RTLD_NEXT, "syscall");
	result = next(number, a, b, c, d, e, f);
	if (number != PRLIMIT64 || result == 0 || *__errno_location() != EPERM)
		return result;
	if (c == 0 && d != 0 && a != 0 && read_limit((int)a, (int)b, (struct limit *)d) == 0)
		return 0;
	*__errno_location() = EPERM;
	return -1;
}
