/* What the preloaded stand-ins for hardware share: device files that are memfds, told apart by their names, so that nothing
 * need be kept in step with dup() and close(). Test only.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int is_named(int fd, const char *mark)
{
	char link[64], name[128];
	ssize_t size;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	size = readlink(link, name, sizeof name - 1);
	if (size < 0)
		return 0;
	name[size] = 0;
	return strstr(name, mark) != NULL;
}

/* What the device answers, by the stand-in that includes this; 0 if the descriptor or the request is not its own. */
static int answered(int fd, unsigned long request, void *argument, int *answer);

int ioctl(int fd, unsigned long request, ...)
{
	static int (*real)(int, unsigned long, void *);
	va_list rest;
	void *argument;
	int answer;

	va_start(rest, request);
	argument = va_arg(rest, void *);
	va_end(rest);
	if (!real)
		real = dlsym(RTLD_NEXT, "ioctl");
	return answered(fd, request & 0xffffffff, argument, &answer) ? answer : real(fd, request, argument);
}

/* Defines open() and its like: IS(path) says whether that is the device, GIVE is what opens it. */
#define OPEN(NAME, PARAMETERS, ARGUMENTS, IS, GIVE)                            \
	int NAME(PARAMETERS const char *path, int flags, ...)                  \
	{                                                                      \
		static int (*real)(PARAMETERS const char *, int, mode_t);      \
		va_list rest;                                                  \
		mode_t mode = 0;                                               \
                                                                               \
		if (IS(path))                                                  \
			return GIVE;                                           \
		va_start(rest, flags);                                         \
		if (flags & (O_CREAT | O_TMPFILE))                             \
			mode = va_arg(rest, mode_t);                           \
		va_end(rest);                                                  \
		if (!real)                                                     \
			real = dlsym(RTLD_NEXT, #NAME);                        \
		return real(ARGUMENTS path, flags, mode);                      \
	}
#define NOTHING
#define FOLDER int folder,
#define ITS folder,
#define OPENS(IS, GIVE)                                                        \
	OPEN(open, NOTHING, NOTHING, IS, GIVE)                                 \
	OPEN(open64, NOTHING, NOTHING, IS, GIVE)                               \
	OPEN(openat, FOLDER, ITS, IS, GIVE)                                    \
	OPEN(openat64, FOLDER, ITS, IS, GIVE)
