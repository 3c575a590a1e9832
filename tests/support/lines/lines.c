/* The kernel's GPIO character device with 28 lines, for a machine that has none: preloaded under libgpiod.
 *
 * LYKTA_TEST_LINES names a folder with, for each line N that is used, a file N.level ("1" or "0": the wire), a FIFO N.events into
 * which the test writes the edges (struct gpio_v2_line_event), and at times N.fail: so many reads of the line fail with EIO.
 * As in the kernel a line has one user (EBUSY), and an edge of a line that nobody watches is lost.
 * Test only. Interface: Linux, Documentation/userspace-api/gpio/chardev.rst.
 */
#include "../interpose.h"

#include <errno.h>
#include <linux/gpio.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define LINES 28

static const char DEVICE[] = "/dev/gpiochip0", MARK[] = "lykta-test-lines", BUS[] = "/sys/dev/char/254:0/subsystem";
static int watched[LINES];

static int is_chip_path(const char *path)
{
	return strcmp(path, DEVICE) == 0;
}

OPENS(is_chip_path, memfd_create(MARK, MFD_CLOEXEC))

static void path_of(char *path, size_t size, int line, const char *what)
{
	snprintf(path, size, "%s/%d.%s", getenv("LYKTA_TEST_LINES"), line, what);
}

/* The line whose request this descriptor is; -1 if it is none. */
static int line_of(int fd)
{
	char link[64], name[PATH_MAX], *last;
	ssize_t size;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	size = readlink(link, name, sizeof name - 1);
	if (size < 0)
		return -1;
	name[size] = 0;
	last = strrchr(name, '/');
	return last && strstr(last, ".events") ? atoi(last + 1) : -1;
}

static int number_in(int line, const char *what)
{
	char path[PATH_MAX], text[16] = "";
	FILE *file;

	path_of(path, sizeof path, line, what);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (!fgets(text, sizeof text, file))
		text[0] = 0;
	fclose(file);
	return atoi(text);
}

static void put_number(int line, const char *what, int number)
{
	char path[PATH_MAX], whole[PATH_MAX + 4];
	FILE *file;

	path_of(path, sizeof path, line, what);
	snprintf(whole, sizeof whole, "%s.new", path);
	file = fopen(whole, "w");
	if (!file || fprintf(file, "%d", number) < 0 || fclose(file) || rename(whole, path))
		abort();
}

static int configure(int fd, int line, const struct gpio_v2_line_config *config)
{
	struct gpio_v2_line_event lost;
	__u64 flags = config->flags;

	for (unsigned i = 0; i < config->num_attrs; i++) {
		const struct gpio_v2_line_attribute *one = &config->attrs[i].attr;

		if (one->id == GPIO_V2_LINE_ATTR_ID_FLAGS)
			flags = one->flags;
		else if (one->id == GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES)
			put_number(line, "level", (int)(one->values & 1));
	}
	int now = (flags & (GPIO_V2_LINE_FLAG_EDGE_RISING | GPIO_V2_LINE_FLAG_EDGE_FALLING)) != 0;
	if (now && !watched[line]) {
		fcntl(fd, F_SETFL, O_NONBLOCK);
		while (syscall(SYS_read, fd, &lost, sizeof lost) > 0)
			;
		fcntl(fd, F_SETFL, 0);
	}
	watched[line] = now;
	return 0;
}

static int request_line(struct gpio_v2_line_request *request)
{
	char path[PATH_MAX];
	int line = (int)request->offsets[0];

	if (request->num_lines != 1 || line >= LINES) {
		errno = EINVAL;
		return -1;
	}
	path_of(path, sizeof path, line, "events");
	request->fd = open(path, O_RDWR | O_CLOEXEC);
	if (request->fd < 0)
		return -1;
	if (flock(request->fd, LOCK_EX | LOCK_NB)) {
		close(request->fd);
		errno = EBUSY;
		return -1;
	}
	watched[line] = 0;
	return configure(request->fd, line, &request->config);
}

static int chip_answers(unsigned long request, void *argument)
{
	struct gpiochip_info *chip = argument;
	struct gpio_v2_line_info *line = argument;

	switch (request) {
	case GPIO_GET_CHIPINFO_IOCTL:
		memset(chip, 0, sizeof *chip);
		strcpy(chip->name, "gpiochip0");
		strcpy(chip->label, MARK);
		chip->lines = LINES;
		return 0;
	case GPIO_V2_GET_LINEINFO_IOCTL:
		line->flags = GPIO_V2_LINE_FLAG_INPUT;
		return 0;
	case GPIO_V2_GET_LINE_IOCTL:
		return request_line(argument);
	}
	errno = ENOTTY;
	return -1;
}

static int line_answers(int fd, int line, unsigned long request, void *argument)
{
	struct gpio_v2_line_values *values = argument;

	switch (request) {
	case GPIO_V2_LINE_GET_VALUES_IOCTL:
		values->bits = (__u64)number_in(line, "level");
		return 0;
	case GPIO_V2_LINE_SET_VALUES_IOCTL:
		put_number(line, "level", (int)(values->bits & 1));
		return 0;
	case GPIO_V2_LINE_SET_CONFIG_IOCTL:
		return configure(fd, line, argument);
	}
	errno = ENOTTY;
	return -1;
}

static int answered(int fd, unsigned long request, void *argument, int *answer)
{
	int line;

	if (_IOC_TYPE(request) != 0xB4)
		return 0;
	line = line_of(fd);
	if (line < 0 && !is_named(fd, MARK))
		return 0;
	*answer = line < 0 ? chip_answers(request, argument) : line_answers(fd, line, request, argument);
	return 1;
}

ssize_t read(int fd, void *into, size_t size)
{
	static ssize_t (*real)(int, void *, size_t);
	int line, failures;

	if (!real)
		real = dlsym(RTLD_NEXT, "read");
	/* A multiple of an event's size: what reads a line, and little else. */
	line = size && size % sizeof(struct gpio_v2_line_event) == 0 ? line_of(fd) : -1;
	failures = line >= 0 ? number_in(line, "fail") : 0;
	if (failures > 0) {
		/* The edges that waited are lost. */
		real(fd, into, size);
		put_number(line, "fail", failures - 1);
		errno = EIO;
		return -1;
	}
	return real(fd, into, size);
}

static int described(const char *path, struct stat *into)
{
	if (!is_chip_path(path))
		return 0;
	memset(into, 0, sizeof *into);
	into->st_mode = S_IFCHR | 0660;
	into->st_rdev = makedev(254, 0);
	return 1;
}

#define STAT(NAME)                                                             \
	int NAME(int version, const char *path, struct stat *into)             \
	{                                                                      \
		static int (*real)(int, const char *, struct stat *);          \
                                                                               \
		if (described(path, into))                                     \
			return 0;                                              \
		if (!real)                                                     \
			real = dlsym(RTLD_NEXT, #NAME);                        \
		return real(version, path, into);                              \
	}
STAT(__xstat)
STAT(__lxstat)

char *realpath(const char *restrict path, char *restrict into)
{
	static char *(*real)(const char *, char *);

	if (strcmp(path, BUS) == 0)
		return into ? strcpy(into, "/sys/bus/gpio") : strdup("/sys/bus/gpio");
	if (!real)
		real = dlsym(RTLD_NEXT, "realpath");
	return real(path, into);
}
