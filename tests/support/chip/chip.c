/* An H.264 encoder behind V4L2's memory-to-memory interface, for a machine that has none: what a Raspberry Pi 4 has in /dev/video11.
 *
 * Preloaded under FFmpeg's h264_v4l2m2m; the coding itself is libx264's. It does what the Pi's driver and firmware do and what a
 * software encoder does not (drivers/staging/vc04_services/bcm2835-codec of raspberrypi/linux, and its issues 2780 and 4002):
 * parameter sets come once, in a buffer of their own, stamped 0 and not as a key picture, because FFmpeg asks for them so; rows
 * are 64 bytes aligned; sizes beyond 1920x1920 are cut; time is in microseconds; a packet comes while a later picture is taken in.
 * LYKTA_TEST_BUSY=N: it takes N pictures and is busy ever after (EAGAIN), upon which FFmpeg holds on to the next one.
 * Test only. Interface: Linux, Documentation/userspace-api/media/v4l/dev-encoder.rst.
 */
#include "../interpose.h"

#include <dirent.h>
#include <errno.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <x264.h>

#define MOST 32
#define LONGEST 1920
#define ALIGNED 64
#define CODED (512 << 10)
#define RAW (LONGEST * LONGEST * 3 / 2)

static const char DEVICE[] = "/dev/video11", MARK[] = "lykta-test-chip";

enum { FREE, QUEUED, DONE };

struct buffer {
	int state;
	uint32_t used, flags;
	struct timeval at;
};

struct queue {
	struct v4l2_pix_format_mplane format;
	struct buffer buffers[MOST];
	unsigned count, order[MOST], first, waiting; /* those that are queued or done, in their order */
	int on;
};

struct packet {
	uint8_t *data;
	uint32_t size, flags;
	struct timeval at;
};

/* One at a time, as one stream is all that a camera has. */
static struct {
	int fd;
	struct queue raw, coded;
	struct packet packets[2 * MOST];
	unsigned first, ready;
	int64_t bitrate;
	unsigned gop, rate, per, separate, headed, ending, ended, most;
	uint8_t *memory;
	x264_t *coder;
} chip;

static int is_chip_path(const char *path)
{
	return strcmp(path, DEVICE) == 0;
}

static int open_chip(void)
{
	int fd = memfd_create(MARK, MFD_CLOEXEC);

	if (chip.coder)
		x264_encoder_close(chip.coder);
	memset(&chip, 0, sizeof chip);
	chip.fd = fd;
	chip.rate = 30;
	chip.per = chip.gop = 1;
	chip.most = getenv("LYKTA_TEST_BUSY") ? (unsigned)atoi(getenv("LYKTA_TEST_BUSY")) : ~0u;
	if (fd < 0 || ftruncate(fd, (off_t)MOST * (RAW + CODED)) < 0)
		return -1;
	chip.memory = mmap(NULL, (size_t)MOST * (RAW + CODED), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return chip.memory == MAP_FAILED ? -1 : fd;
}

static struct queue *queue_of(uint32_t type)
{
	return type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE ? &chip.raw : type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE ? &chip.coded : NULL;
}

static uint32_t offset_of(const struct queue *queue, unsigned index)
{
	return queue == &chip.raw ? index * RAW : (uint32_t)MOST * RAW + index * CODED;
}

static int refuse(int why)
{
	errno = why;
	return -1;
}

static int try_format(struct queue *queue, struct v4l2_pix_format_mplane *format)
{
	struct v4l2_plane_pix_format *plane = &format->plane_fmt[0];

	if (format->width > LONGEST)
		format->width = LONGEST;
	if (format->height > LONGEST)
		format->height = LONGEST;
	format->num_planes = 1;
	format->field = V4L2_FIELD_NONE;
	if (queue == &chip.raw) {
		format->pixelformat = V4L2_PIX_FMT_YUV420;
		plane->bytesperline = (format->width + ALIGNED - 1) / ALIGNED * ALIGNED;
		plane->sizeimage = plane->bytesperline * format->height * 3 / 2;
	} else {
		format->pixelformat = V4L2_PIX_FMT_H264;
		plane->bytesperline = 0;
		plane->sizeimage = CODED;
	}
	return 0;
}

static int format(unsigned long request, struct v4l2_format *wish)
{
	struct queue *queue = queue_of(wish->type);

	if (!queue)
		return refuse(EINVAL);
	if (request == VIDIOC_G_FMT)
		wish->fmt.pix_mp = queue->format;
	else
		try_format(queue, &wish->fmt.pix_mp);
	if (request == VIDIOC_S_FMT)
		queue->format = wish->fmt.pix_mp;
	return 0;
}

static int describe(struct v4l2_fmtdesc *wish)
{
	if (wish->index || !queue_of(wish->type))
		return refuse(EINVAL);
	wish->pixelformat = queue_of(wish->type) == &chip.raw ? V4L2_PIX_FMT_YUV420 : V4L2_PIX_FMT_H264;
	return 0;
}

static int start_coder(void)
{
	x264_param_t how;

	x264_param_default_preset(&how, "ultrafast", "zerolatency");
	how.i_width = chip.raw.format.width;
	how.i_height = chip.raw.format.height;
	how.i_fps_num = chip.rate;
	how.i_fps_den = chip.per;
	how.i_keyint_max = chip.gop;
	how.i_bframe = how.b_repeat_headers = 0;
	how.b_annexb = 1;
	how.i_threads = 1;
	how.i_log_level = X264_LOG_ERROR;
	how.rc.i_rc_method = X264_RC_ABR;
	how.rc.i_bitrate = (int)(chip.bitrate / 1000);
	chip.coder = x264_encoder_open(&how);
	return chip.coder ? 0 : refuse(EINVAL);
}

static void put(const uint8_t *data, uint32_t size, struct timeval at, uint32_t flags)
{
	struct packet *packet = &chip.packets[(chip.first + chip.ready++) % (2 * MOST)];

	if (chip.ready > 2 * MOST || size > CODED)
		abort();
	packet->data = malloc(size ? size : 1);
	memcpy(packet->data, data, size);
	packet->size = size;
	packet->at = at;
	packet->flags = flags;
}

static void put_headers(void)
{
	x264_nal_t *units;
	int count, used = 0;
	uint8_t joined[1024];

	x264_encoder_headers(chip.coder, &units, &count);
	for (int i = 0; i < count; i++) {
		if (units[i].i_type == NAL_SEI)
			continue;
		memcpy(joined + used, units[i].p_payload, (size_t)units[i].i_payload);
		used += units[i].i_payload;
	}
	put(joined, (uint32_t)used, (struct timeval){0, 0}, 0);
}

static void code(unsigned index)
{
	const struct buffer *raw = &chip.raw.buffers[index];
	unsigned stride = chip.raw.format.plane_fmt[0].bytesperline, height = chip.raw.format.height;
	uint8_t *luma = chip.memory + offset_of(&chip.raw, index);
	x264_picture_t in, out;
	x264_nal_t *units;
	int count, size;

	x264_picture_init(&in);
	in.img.i_csp = X264_CSP_I420;
	in.img.i_plane = 3;
	in.img.plane[0] = luma;
	in.img.plane[1] = luma + (size_t)stride * height;
	in.img.plane[2] = in.img.plane[1] + (size_t)stride / 2 * (height / 2);
	in.img.i_stride[0] = (int)stride;
	in.img.i_stride[1] = in.img.i_stride[2] = (int)stride / 2;
	in.i_pts = raw->at.tv_sec * 1000000 + raw->at.tv_usec;
	size = x264_encoder_encode(chip.coder, &units, &count, &in, &out);
	if (size <= 0)
		abort();
	put(units[0].p_payload, (uint32_t)size, raw->at, out.b_keyframe ? V4L2_BUF_FLAG_KEYFRAME : 0);
}

static unsigned next(struct queue *queue, int state)
{
	for (unsigned i = 0; i < queue->waiting; i++) {
		unsigned index = queue->order[(queue->first + i) % MOST];

		if (queue->buffers[index].state == state)
			return index;
	}
	return MOST;
}

/* All that can be done now: take pictures in, and hand out packets but for the newest, which is still at work. */
static void work(void)
{
	unsigned index;

	if (!chip.raw.on || !chip.coded.on)
		return;
	while ((index = next(&chip.raw, QUEUED)) < MOST) {
		if (!chip.headed && chip.separate)
			put_headers();
		chip.headed = 1;
		code(index);
		chip.raw.buffers[index].state = DONE;
	}
	if (chip.ending && !chip.ended) {
		put((const uint8_t *)"", 0, (struct timeval){0, 0}, V4L2_BUF_FLAG_LAST);
		chip.ended = 1;
	}
	while (chip.ready > !chip.ending && (index = next(&chip.coded, QUEUED)) < MOST) {
		struct packet *packet = &chip.packets[chip.first];
		struct buffer *buffer = &chip.coded.buffers[index];

		memcpy(chip.memory + offset_of(&chip.coded, index), packet->data, packet->size);
		free(packet->data);
		buffer->used = packet->size;
		buffer->flags = packet->flags;
		buffer->at = packet->at;
		buffer->state = DONE;
		chip.first = (chip.first + 1) % (2 * MOST);
		chip.ready--;
	}
}

static int request_buffers(struct v4l2_requestbuffers *wish)
{
	struct queue *queue = queue_of(wish->type);

	if (!queue || wish->memory != V4L2_MEMORY_MMAP)
		return refuse(EINVAL);
	wish->count = wish->count < MOST ? wish->count : MOST;
	queue->count = wish->count;
	queue->first = queue->waiting = 0;
	memset(queue->buffers, 0, sizeof queue->buffers);
	return 0;
}

static int buffer(unsigned long request, struct v4l2_buffer *wish)
{
	struct queue *queue = queue_of(wish->type);
	struct buffer *own;
	unsigned index = wish->index;

	if (!queue || wish->memory != V4L2_MEMORY_MMAP || wish->length < 1)
		return refuse(EINVAL);
	if (request == VIDIOC_DQBUF) {
		index = queue->waiting ? queue->order[queue->first] : MOST;
		if (index == MOST || queue->buffers[index].state != DONE)
			return refuse(EAGAIN);
		queue->first = (queue->first + 1) % MOST;
		queue->waiting--;
	}
	if (index >= queue->count)
		return refuse(EINVAL);
	own = &queue->buffers[index];
	wish->index = index;
	wish->length = 1;
	wish->m.planes[0].length = queue->format.plane_fmt[0].sizeimage;
	wish->m.planes[0].m.mem_offset = offset_of(queue, index);
	if (request == VIDIOC_QBUF) {
		if (own->state != FREE)
			return refuse(EINVAL);
		if (queue == &chip.raw && !chip.most)
			return refuse(EAGAIN);
		chip.most -= queue == &chip.raw;
		if (queue == &chip.raw && !chip.coder && start_coder() < 0)
			return -1;
		own->state = QUEUED;
		own->at = wish->timestamp;
		queue->order[(queue->first + queue->waiting++) % MOST] = index;
		work();
	} else if (request == VIDIOC_DQBUF) {
		own->state = FREE;
		wish->m.planes[0].bytesused = own->used;
		wish->timestamp = own->at;
		wish->flags = own->flags;
		work();
	}
	return 0;
}

static int control(unsigned long request, struct v4l2_ext_controls *wish)
{
	for (unsigned i = 0; i < wish->count; i++) {
		struct v4l2_ext_control *one = &wish->controls[i];

		if (request == VIDIOC_G_EXT_CTRLS)
			return refuse(EINVAL);
		if (one->id == V4L2_CID_MPEG_VIDEO_BITRATE)
			chip.bitrate = one->value;
		else if (one->id == V4L2_CID_MPEG_VIDEO_GOP_SIZE)
			chip.gop = (unsigned)one->value;
		else if (one->id == V4L2_CID_MPEG_VIDEO_HEADER_MODE)
			chip.separate = one->value == V4L2_MPEG_VIDEO_HEADER_MODE_SEPARATE;
		else if (one->id != V4L2_CID_MPEG_VIDEO_H264_MIN_QP && one->id != V4L2_CID_MPEG_VIDEO_H264_MAX_QP)
			return refuse(EINVAL);
	}
	return 0;
}

static int stream(unsigned long request, const int *type)
{
	struct queue *queue = queue_of((uint32_t)*type);

	if (!queue)
		return refuse(EINVAL);
	queue->on = request == VIDIOC_STREAMON;
	if (!queue->on) {
		queue->first = queue->waiting = 0;
		for (unsigned i = 0; i < MOST; i++)
			queue->buffers[i].state = FREE;
	}
	work();
	return 0;
}

static int answer(unsigned long request, void *wish)
{
	struct v4l2_capability *self = wish;

	switch (request) {
	case VIDIOC_QUERYCAP:
		memset(self, 0, sizeof *self);
		strcpy((char *)self->driver, MARK);
		strcpy((char *)self->card, MARK);
		self->device_caps = V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING;
		self->capabilities = self->device_caps | V4L2_CAP_DEVICE_CAPS;
		return 0;
	case VIDIOC_ENUM_FMT:
		return describe(wish);
	case VIDIOC_G_FMT:
	case VIDIOC_S_FMT:
	case VIDIOC_TRY_FMT:
		return format(request, wish);
	case VIDIOC_REQBUFS:
		return request_buffers(wish);
	case VIDIOC_QUERYBUF:
	case VIDIOC_QBUF:
	case VIDIOC_DQBUF:
		return buffer(request, wish);
	case VIDIOC_S_EXT_CTRLS:
	case VIDIOC_G_EXT_CTRLS:
		return control(request, wish);
	case VIDIOC_STREAMON:
	case VIDIOC_STREAMOFF:
		return stream(request, wish);
	case VIDIOC_S_PARM:
		chip.rate = ((struct v4l2_streamparm *)wish)->parm.output.timeperframe.denominator;
		chip.per = ((struct v4l2_streamparm *)wish)->parm.output.timeperframe.numerator;
		return 0;
	case VIDIOC_SUBSCRIBE_EVENT:
		return 0;
	case VIDIOC_ENCODER_CMD:
		chip.ending = 1;
		work();
		return 0;
	default:
		return refuse(ENOTTY);
	}
}

static int answered(int fd, unsigned long request, void *argument, int *given)
{
	if (fd != chip.fd || !is_named(fd, MARK))
		return 0;
	*given = answer(request, argument);
	return 1;
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	static int (*real)(struct pollfd *, nfds_t, int);
	short seen = 0;

	if (!real)
		real = dlsym(RTLD_NEXT, "poll");
	if (count != 1 || fds->fd != chip.fd || !is_named(fds->fd, MARK))
		return real(fds, count, timeout);
	if (next(&chip.raw, DONE) < MOST)
		seen |= POLLOUT | POLLWRNORM;
	if (next(&chip.coded, DONE) < MOST)
		seen |= POLLIN | POLLRDNORM;
	if (!chip.raw.waiting && (fds->events & POLLOUT) && !(fds->events & POLLIN))
		seen |= POLLERR;
	fds->revents = seen & (fds->events | POLLERR);
	return fds->revents != 0;
}

#define STAT(NAME, KIND)                                                       \
	int NAME(const char *restrict path, struct KIND *restrict found)       \
	{                                                                      \
		static int (*real)(const char *, struct KIND *);               \
                                                                               \
		if (!real)                                                     \
			real = dlsym(RTLD_NEXT, #NAME);                        \
		return real(is_chip_path(path) ? "/dev/null" : path, found);   \
	}

STAT(stat, stat)
STAT(stat64, stat64)

/* FFmpeg looks for its device among the names in /dev. */
static DIR *looking;

DIR *opendir(const char *path)
{
	static DIR *(*real)(const char *);
	DIR *found;

	if (!real)
		real = dlsym(RTLD_NEXT, "opendir");
	found = real(path);
	if (strcmp(path, "/dev") == 0)
		looking = found;
	return found;
}

#define READDIR(NAME, ENTRY)                                                   \
	struct ENTRY *NAME(DIR *folder)                                        \
	{                                                                      \
		static struct ENTRY *(*real)(DIR *);                           \
		static struct ENTRY own = {.d_name = "video11"};               \
                                                                               \
		if (!real)                                                     \
			real = dlsym(RTLD_NEXT, #NAME);                        \
		if (folder == looking) {                                       \
			looking = NULL;                                        \
			return &own;                                           \
		}                                                              \
		return real(folder);                                           \
	}

READDIR(readdir, dirent)
READDIR(readdir64, dirent64)

OPENS(is_chip_path, open_chip())
