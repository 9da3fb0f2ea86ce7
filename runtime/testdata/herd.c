// What a machine needs at least to start nodes: it spawns NODE N times, prints how
// many nanoseconds it took until each had connected and spoken, and ends them.
#include <netinet/in.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static int listener, count, *nodes;

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void watch(int all, int fd) {
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(all, EPOLL_CTL_ADD, fd, &e);
}

static void *hear(void *unused) {
    int all = epoll_create1(EPOLL_CLOEXEC), connected = 0, spoken = 0;
    watch(all, listener);
    while (spoken < count) {
        struct epoll_event ready[64];
        char said[512];
        int n = epoll_wait(all, ready, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener)
                watch(all, nodes[connected++] = accept4(listener, 0, 0, SOCK_CLOEXEC));
            else if (read(fd, said, sizeof said) > 0) {
                spoken++;
                epoll_ctl(all, EPOLL_CTL_DEL, fd, 0);
            }
        }
    }
    return unused;
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    count = atoi(argv[2]);
    nodes = calloc(count, sizeof *nodes);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 4096) || getsockname(listener, (struct sockaddr *)&at, &size))
        return 3;
    char home[32];
    sprintf(home, "127.0.0.1:%d", ntohs(at.sin_port));
    setenv("DAGON_PHONE_HOME", home, 1);
    setenv("DAGON_NAME", "n", 1);
    pthread_t hearing;
    pthread_create(&hearing, 0, hear, 0);
    long long began = now();
    for (int i = 0; i < count; i++) {
        char *args[] = {argv[1], 0};
        pid_t pid;
        if (posix_spawn(&pid, argv[1], 0, 0, args, environ))
            return 4;
    }
    pthread_join(hearing, 0);
    printf("%lld\n", now() - began);
    for (int i = 0; i < count; i++)
        if (write(nodes[i], "end", 3) != 3)
            return 5;
    while (wait(0) > 0)
        ;
    return 0;
}
