// LD_PRELOAD: writes down, in their order, each change and each sync of the files in TRACE_DIR
// (but SQLite's -shm, which is no data) and each thing said on a socket. Syncs are not done:
// the replay decides what they would have kept. Records go to TRACE_OUT:
// kind, file number (0: a socket), offset, length, bytes.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096
#define FILES 16
#define REAL(name) ((typeof(&name))real(#name, &name##_))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *names[FILES];
static char number[FDS];  // of the file behind a descriptor, from 1
static int out = -1;

static void *write_, *writev_, *pwrite64_, *ftruncate64_, *sendmsg_, *open_, *open64_, *close_,
    *unlink_;

static void *real(const char *name, void **slot) {
  if (!*slot) *slot = dlsym(RTLD_NEXT, name);
  return *slot;
}

static void record(char kind, int file, int64_t offset, const struct iovec *parts, int count,
                   int64_t length) {
  struct { char kind, file, pad[6]; int64_t offset, length; } head = {kind, file, {0}, offset, length};
  pthread_mutex_lock(&lock);
  if (out < 0) out = REAL(open64)(getenv("TRACE_OUT"), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  REAL(write)(out, &head, sizeof head);
  for (int i = 0; i < count && length > 0; i++) {
    int64_t part = (int64_t)parts[i].iov_len < length ? (int64_t)parts[i].iov_len : length;
    REAL(write)(out, parts[i].iov_base, part);
    length -= part;
  }
  pthread_mutex_unlock(&lock);
}

static void record_bytes(char kind, int file, int64_t offset, const void *bytes, int64_t length) {
  struct iovec part = {(void *)bytes, length};
  record(kind, file, offset, &part, 1, length);
}

static int file_of(int fd) { return fd >= 0 && fd < FDS ? number[fd] : 0; }

static int is_socket(int fd) {
  struct stat found;
  return fstat(fd, &found) == 0 && S_ISSOCK(found.st_mode);
}

static int opened(int fd, const char *path, int flags) {
  const char *dir = getenv("TRACE_DIR"), *base = strrchr(path, '/');
  if (fd < 0 || fd >= FDS || !dir || strncmp(path, dir, strlen(dir)) || strstr(path, "-shm")) return fd;
  if (flags & O_DIRECTORY) return fd;
  int i = 0;
  pthread_mutex_lock(&lock);
  while (i < FILES - 1 && names[i] && strcmp(names[i], base + 1)) i++;
  int fresh = !names[i];
  if (fresh) names[i] = strdup(base + 1);
  number[fd] = i + 1;
  pthread_mutex_unlock(&lock);
  if (fresh) record_bytes('N', i + 1, 0, base + 1, strlen(base + 1));
  return fd;
}

static int mode_of(int flags, va_list more) {
  return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0;
}

int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  int mode = mode_of(flags, more);
  va_end(more);
  return opened(REAL(open)(path, flags, mode), path, flags);
}

int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  int mode = mode_of(flags, more);
  va_end(more);
  return opened(REAL(open64)(path, flags, mode), path, flags);
}

int close(int fd) {
  if (fd >= 0 && fd < FDS) number[fd] = 0;
  return REAL(close)(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  ssize_t done = REAL(pwrite64)(fd, bytes, length, offset);
  if (file_of(fd) && done > 0) record_bytes('W', file_of(fd), offset, bytes, done);
  return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  return pwrite64(fd, bytes, length, offset);
}

// What is said is written down before it is said: nobody can have heard it earlier.
ssize_t write(int fd, const void *bytes, size_t length) {
  if (is_socket(fd)) record_bytes('A', 0, 0, bytes, length);
  if (!file_of(fd)) return REAL(write)(fd, bytes, length);
  off_t offset = lseek(fd, 0, SEEK_CUR);
  ssize_t done = REAL(write)(fd, bytes, length);
  if (done > 0) record_bytes('W', file_of(fd), offset, bytes, done);
  return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (is_socket(fd)) {
    int64_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    record('A', 0, 0, parts, count, length);
  }
  return REAL(writev)(fd, parts, count);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  int64_t length = 0;
  for (size_t i = 0; i < message->msg_iovlen; i++) length += message->msg_iov[i].iov_len;
  record('A', 0, 0, message->msg_iov, message->msg_iovlen, length);
  return REAL(sendmsg)(fd, message, flags);
}

int ftruncate64(int fd, off64_t length) {
  int failed = REAL(ftruncate64)(fd, length);
  if (file_of(fd) && !failed) record('T', file_of(fd), length, NULL, 0, 0);
  return failed;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int sync_of(int fd) {
  if (file_of(fd)) record('S', file_of(fd), 0, NULL, 0, 0);
  return 0;
}

int unlink(const char *path) {
  const char *dir = getenv("TRACE_DIR"), *base = strrchr(path, '/');
  if (dir && base && !strncmp(path, dir, strlen(dir)))
    for (int i = 0; i < FILES && names[i]; i++)
      if (!strcmp(names[i], base + 1)) record('U', i + 1, 0, NULL, 0, 0);
  return REAL(unlink)(path);
}

int fsync(int fd) { return sync_of(fd); }
int fdatasync(int fd) { return sync_of(fd); }
