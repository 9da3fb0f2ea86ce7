// A node that does next to nothing: it connects, reports ready, and reports its
// end when it is sent anything.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void report(int to, const char *address, const char *name) {
    char frame[512] = {0};
    int at = 4;
    const char *parts[] = {address, ",s", name};
    for (int i = 0; i < 3; i++) { // a string ends in zeros, and at a multiple of 4
        strcpy(frame + at, parts[i]);
        at += (strlen(parts[i]) / 4 + 1) * 4;
    }
    frame[2] = (at - 4) >> 8;
    frame[3] = at - 4;
    if (write(to, frame, at) != at)
        exit(3);
}

int main(void) {
    const char *name = getenv("DAGON_NAME"), *home = getenv("DAGON_PHONE_HOME");
    char host[64], heard[512];
    int port;
    if (!name || strlen(name) > 200 || !home || sscanf(home, "%63[^:]:%d", host, &port) != 2)
        return 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &to.sin_addr);
    int dagon = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(dagon, (struct sockaddr *)&to, sizeof to)) {
        perror(home);
        return 2;
    }
    report(dagon, "/ready", name);
    if (read(dagon, heard, sizeof heard) <= 0)
        return 4;
    report(dagon, "/done_shutdown", name);
    return 0;
}
