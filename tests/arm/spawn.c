// What lets an emulated program start programs of its own kind. qemu-user hands execve to this
// machine's kernel, which does not know an arm64 program where nobody has registered the emulator
// with it (binfmt_misc wants root, and changes the machine). Preloaded into the agent, this starts
// such a program by the emulator; others start as ever. QEMU, SYSROOT and PRELOAD are given when
// it is compiled.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <unistd.h>

#define MOST 256

extern char **environ;

// Nothing is allocated here: it runs between fork and exec as well.
struct line {
  char path[4096];
  char *argv[MOST];
};

static int is_arm64(const char *path) {
  unsigned char head[20];
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return 0;
  ssize_t length = read(file, head, sizeof head);
  close(file);
  // e_machine is EM_AARCH64.
  return length == sizeof head && !memcmp(head, "\177ELF", 4) && head[18] == 183 && head[19] == 0;
}

// The emulator's path where it is needed, and then its arguments in `line`; else 0.
static const char *by_emulator(const char *path, char *const argv[], struct line *line) {
  if (!strchr(path, '/') || !is_arm64(path))
    return 0;
  ssize_t length = readlink(path, line->path, sizeof line->path - 1);
  if (length > 0 && !strcmp(path, "/proc/self/exe"))
    line->path[length] = 0;
  else if (strlen(path) < sizeof line->path)
    strcpy(line->path, path);
  else
    return 0;
  char *const head[] = {QEMU, "-L", SYSROOT, "-E", "LD_PRELOAD=" PRELOAD, "-0", argv[0], line->path};
  size_t at = sizeof head / sizeof *head;
  memcpy(line->argv, head, sizeof head);
  for (argv++; *argv; argv++) {
    if (at == MOST - 1)
      return 0;
    line->argv[at++] = *argv;
  }
  line->argv[at] = 0;
  return QEMU;
}

#define SPAWN(name)                                                                               \
  int name(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,               \
           const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {         \
    struct line line;                                                                             \
    const char *emulator = by_emulator(path, argv, &line);                                        \
    __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                          \
    return next(pid, emulator ? emulator : path, actions, attributes,                             \
                emulator ? line.argv : argv, envp);                                               \
  }
SPAWN(posix_spawn)
SPAWN(posix_spawnp)

#define EXEC(name)                                                                                \
  int name(const char *path, char *const argv[]) {                                                \
    struct line line;                                                                             \
    const char *emulator = by_emulator(path, argv, &line);                                        \
    __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                          \
    return next(emulator ? emulator : path, emulator ? line.argv : argv);                         \
  }
EXEC(execv)
EXEC(execvp)
