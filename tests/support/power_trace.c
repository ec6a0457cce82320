// LD_PRELOAD: writes down, in their order, each change and each sync of the files and folders in
// TRACE_DIR (but SQLite's -shm, which is no data) and each thing said on a socket. Syncs are not
// done: the replay decides what they would have kept. Records go to TRACE_OUT: kind, number (each
// opening of a file has its own; 0: none, or a socket), offset, length, bytes.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096
#define REAL(name) ((typeof(&name))real(#name, &name##_))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int32_t opens;
static int32_t number[FDS];  // of the opening behind a descriptor, from 1
static char folder[FDS];     // whether it is one
static int out = -1;

static void *write_, *writev_, *pwrite64_, *ftruncate64_, *sendmsg_, *open_, *open64_, *close_,
    *unlink_, *unlinkat_, *rename_, *mkdir_, *rmdir_, *link_;

static void *real(const char *name, void **slot) {
  if (!*slot) *slot = dlsym(RTLD_NEXT, name);
  return *slot;
}

static void record(char kind, int32_t file, int64_t offset, const struct iovec *parts, int count,
                   int64_t length) {
  struct { char kind, pad[3]; int32_t file; int64_t offset, length; } head = {kind, {0}, file, offset, length};
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

static void record_bytes(char kind, int32_t file, int64_t offset, const void *bytes, int64_t length) {
  struct iovec part = {(void *)bytes, length};
  record(kind, file, offset, &part, 1, length);
}

static int32_t file_of(int fd) { return fd >= 0 && fd < FDS ? number[fd] : 0; }

// The part of a path below TRACE_DIR, which ends in a slash; NULL outside of it.
static const char *inside(const char *path) {
  const char *dir = getenv("TRACE_DIR");
  size_t length = dir ? strlen(dir) : 0;
  if (!dir || strstr(path, "-shm")) return NULL;
  if (!strncmp(path, dir, length)) return path + length;
  return strlen(path) == length - 1 && !strncmp(path, dir, length - 1) ? "" : NULL;
}

static void record_path(char kind, int32_t file, const char *path) {
  record_bytes(kind, file, 0, path, strlen(path));
}

static int is_folder(int fd) {
  struct stat found;
  return fstat(fd, &found) == 0 && S_ISDIR(found.st_mode);
}

static int is_socket(int fd) {
  struct stat found;
  return fstat(fd, &found) == 0 && S_ISSOCK(found.st_mode);
}

static int opened(int fd, const char *path, int flags) {
  const char *name = inside(path);
  if (fd < 0 || fd >= FDS || !name) return fd;
  pthread_mutex_lock(&lock);
  if (!opens) opens = (getpid() & 0x7fff) << 16;  // other processes have other numbers
  int32_t fresh = number[fd] = ++opens;
  pthread_mutex_unlock(&lock);
  folder[fd] = is_folder(fd);
  record_path('N', fresh, name);
  if (flags & O_CREAT) record('C', fresh, 0, NULL, 0, 0);
  if (flags & O_TRUNC) record('T', fresh, 0, NULL, 0, 0);
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
  if (file_of(fd)) record(folder[fd] ? 'D' : 'S', file_of(fd), 0, NULL, 0, 0);
  return 0;
}

// The first path, a zero, the second.
static void record_move(char kind, const char *old, const char *new) {
  const char *from = inside(old), *to = inside(new);
  if (!from && !to) return;
  if (!from || !to) abort();  // the replay would not know what comes, or where it went
  struct iovec parts[] = {{(void *)from, strlen(from) + 1}, {(void *)to, strlen(to)}};
  record(kind, 0, 0, parts, 2, parts[0].iov_len + parts[1].iov_len);
}

static void record_gone(const char *path) {
  const char *name = inside(path);
  if (name) record_path('U', 0, name);
}

int unlink(const char *path) {
  int failed = REAL(unlink)(path);
  if (!failed) record_gone(path);
  return failed;
}

int unlinkat(int dir, const char *path, int flags) {
  char link[32], whole[4096];
  int failed = REAL(unlinkat)(dir, path, flags);
  snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
  ssize_t length = dir < 0 || *path == '/' ? -1 : readlink(link, whole, sizeof whole / 2);
  if (length >= 0) snprintf(whole + length, sizeof whole - length, "/%s", path);
  if (!failed) record_gone(length < 0 ? path : whole);
  return failed;
}

int rmdir(const char *path) {
  int failed = REAL(rmdir)(path);
  if (!failed) record_gone(path);
  return failed;
}

int mkdir(const char *path, mode_t mode) {
  int failed = REAL(mkdir)(path, mode);
  if (!failed && inside(path)) record_path('M', 0, inside(path));
  return failed;
}

int rename(const char *old, const char *new) {
  int failed = REAL(rename)(old, new);
  if (!failed) record_move('R', old, new);
  return failed;
}

int link(const char *old, const char *new) {
  int failed = REAL(link)(old, new);
  if (!failed) record_move('L', old, new);
  return failed;
}

int fsync(int fd) { return sync_of(fd); }
int fdatasync(int fd) { return sync_of(fd); }
