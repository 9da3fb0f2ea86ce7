// A daemon that hands itself on: "relay FILE N" starts N processes, each of which
// forks the next in a session of its own and exits, counts them in the file, which
// it shares, and lives on.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv) {
	int file = open(argv[1], O_RDWR | O_CREAT, 0666);
	if (argc != 3 || file < 0 || ftruncate(file, sizeof(long)) < 0) return 9;
	long *count = mmap(0, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (count == MAP_FAILED) return 9;
	for (int heads = atoi(argv[2]); heads > 0; heads--) {
		if (fork()) continue;
		signal(SIGCHLD, SIG_IGN);
		for (;;) {
			if (fork()) _exit(0);
			setsid();
			__sync_fetch_and_add(count, 1);
			usleep(100);
		}
	}
	puts("up");
	fflush(stdout);
	for (;;) pause();
}
