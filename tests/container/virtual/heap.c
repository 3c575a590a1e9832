/* A dma-heap for a kernel that has none, so that libcamera's virtual pipeline and picamera2 find memory for their buffers.
 *
 * Preloaded. Opening one of the heap devices gives an empty memfd that is remembered; asking it for memory gives another memfd
 * of that size. Such memory is shared and mappable as a DMA buffer is; what only hardware needs (the sync calls) succeeds and
 * does nothing. Test only. Formats: Linux, include/uapi/linux/dma-heap.h, udmabuf.h and dma-buf.h.
 *
 * The virtual pipeline draws as fast as it gets buffers. It maps each buffer to draw into it: there it is held back, so that
 * pictures come LYKTA_TEST_FPS times a second, as from a sensor, and none while the cable is loose. Two files, while they exist, are
 * a loose cable and memory that is used up.
 *
 * It also never says whether a picture succeeded (libcamera 0.4): picamera2 then drops the pictures of those buffers whose memory
 * was not zero, which means success, when they were made. So what C++ allocates begins as zero.
 */
#include "../../support/interpose.h"

#include <errno.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static const char UNPLUGGED[] = "/srv/lab/unplugged", FULL[] = "/srv/lab/no-memory";
static const char *const HEAPS[] = {"/dev/dma_heap/linux,cma", "/dev/dma_heap/system", "/dev/udmabuf"};
static const char MARK[] = "lykta-test-heap", BUFFER[] = "lykta-test-buffer";

static int is_heap_path(const char *path)
{
	for (size_t i = 0; i < sizeof HEAPS / sizeof *HEAPS; i++)
		if (strcmp(path, HEAPS[i]) == 0)
			return 1;
	return 0;
}

static void wait_for_the_next_picture(void)
{
	static struct timespec due;
	const char *fps = getenv("LYKTA_TEST_FPS");
	struct timespec now;

	if (!fps)
		return;
	prctl(PR_SET_NAME, "draws-pictures"); /* so that its cost can be told from the driver's */
	while (access(UNPLUGGED, F_OK) == 0)
		usleep(50000);
	clock_gettime(CLOCK_MONOTONIC, &now);
	due.tv_nsec += 1000000000L / atoi(fps);
	if (due.tv_nsec >= 1000000000L) {
		due.tv_nsec -= 1000000000L;
		due.tv_sec++;
	}
	if (due.tv_sec < now.tv_sec || (due.tv_sec == now.tv_sec && due.tv_nsec < now.tv_nsec))
		due = now;
	else
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

static int called_by_libcamera(void *caller)
{
	Dl_info found;

	return dladdr(caller, &found) && found.dli_fname && strstr(found.dli_fname, "libcamera");
}

#define MMAP(NAME)                                                             \
	void *NAME(void *where, size_t size, int rights, int flags, int fd, off_t from) \
	{                                                                      \
		static void *(*real)(void *, size_t, int, int, int, off_t);    \
                                                                               \
		if (!real)                                                     \
			real = dlsym(RTLD_NEXT, #NAME);                        \
		if (fd >= 0 && (rights & PROT_WRITE) && called_by_libcamera(__builtin_return_address(0)) && \
		    is_named(fd, BUFFER))                                      \
			wait_for_the_next_picture();                           \
		return real(where, size, rights, flags, fd, from);             \
	}

MMAP(mmap)
MMAP(mmap64)

/* operator new(size_t); libstdc++'s delete gives it to free(). */
void *_Znwm(size_t size)
{
	void *memory = calloc(1, size ? size : 1);

	if (!memory)
		abort();
	return memory;
}

static int heap_ioctl(unsigned long request, void *argument)
{
	if (request == (DMA_HEAP_IOCTL_ALLOC & 0xffffffff)) {
		struct dma_heap_allocation_data *wish = argument;
		int fd = access(FULL, F_OK) == 0 ? -1 : memfd_create(BUFFER, MFD_CLOEXEC);

		if (fd < 0 || ftruncate(fd, wish->len) < 0)
			return -1;
		wish->fd = fd;
		return 0;
	}
	if (request == (UDMABUF_CREATE & 0xffffffff))
		return fcntl(((struct udmabuf_create *)argument)->memfd, F_DUPFD_CLOEXEC, 0);
	errno = ENOTTY;
	return -1;
}

static int answered(int fd, unsigned long request, void *argument, int *answer)
{
	if (request == (DMA_BUF_IOCTL_SYNC & 0xffffffff) || (request & 0xffff) == (DMA_BUF_SET_NAME & 0xffff)) {
		*answer = 0;
		return 1;
	}
	if (!is_named(fd, MARK))
		return 0;
	*answer = heap_ioctl(request, argument);
	return 1;
}

OPENS(is_heap_path, memfd_create(MARK, MFD_CLOEXEC))
