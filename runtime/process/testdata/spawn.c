// The peer of BenchmarkSpawn: starts N children by posix_spawn on two threads,
// all at once, then reaps all, and prints the nanoseconds that it took. With
// "pipes" each child has two pipes as its 1 and 2, which are read to their end.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static int each, pipes;
static char *program;

struct child { pid_t pid; int out, err; };

static void fail(const char *what) { perror(what); exit(1); }

static void drain(int fd) {
	char buf[4096];
	while (read(fd, buf, sizeof buf) > 0) {}
	close(fd);
}

static void *spawner(void *unused) {
	(void)unused;
	struct child *all = calloc(each, sizeof *all);
	char *argv[] = {program, NULL};
	posix_spawnattr_t attr;
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
	for (int i = 0; i < each; i++) {
		int out[2], err[2];
		posix_spawn_file_actions_t actions;
		posix_spawn_file_actions_init(&actions);
		posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
		if (pipes) {
			if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) fail("pipe2");
			posix_spawn_file_actions_adddup2(&actions, out[1], 1);
			posix_spawn_file_actions_adddup2(&actions, err[1], 2);
		}
		if (posix_spawn(&all[i].pid, program, &actions, &attr, argv, environ)) fail("posix_spawn");
		posix_spawn_file_actions_destroy(&actions);
		if (pipes) {
			close(out[1]);
			close(err[1]);
			all[i].out = out[0];
			all[i].err = err[0];
		}
	}
	for (int i = 0; i < each; i++) {
		if (pipes) {
			drain(all[i].out);
			drain(all[i].err);
		}
		int status;
		if (waitpid(all[i].pid, &status, 0) != all[i].pid || status != 0) fail("waitpid");
	}
	return NULL;
}

int main(int argc, char **argv) {
	if (argc < 3) return 2;
	program = argv[1];
	each = atoi(argv[2]) / 2;
	pipes = argc > 3 && !strcmp(argv[3], "pipes");
	struct timespec began, ended;
	clock_gettime(CLOCK_MONOTONIC, &began);
	pthread_t threads[2];
	for (int i = 0; i < 2; i++) if (pthread_create(&threads[i], NULL, spawner, NULL)) fail("pthread_create");
	for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	printf("%lld\n", (ended.tv_sec - began.tv_sec) * 1000000000LL + ended.tv_nsec - began.tv_nsec);
	return 0;
}
