// A small echo server: one process, poll(2), blocking writes. It is compiled and recorded by a test.
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct pollfd fds[64];
static int count = 1;

static void take(void) {
    int fd = accept(fds[0].fd, NULL, NULL);
    if (fd >= 0) {
        fds[count].fd = fd;
        fds[count++].events = POLLIN;
    }
}

static void echo(int at) {
    char bytes[4096];
    ssize_t got = read(fds[at].fd, bytes, sizeof bytes);
    if (got > 0 && write(fds[at].fd, bytes, got) == got)
        return;
    close(fds[at].fd);
    fds[at] = fds[--count];
}

int main(int argc, char **argv) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (argc < 2)
        return 2;
    addr.sin_port = htons(atoi(argv[1]));
    fds[0].fd = socket(AF_INET, SOCK_STREAM, 0);
    fds[0].events = POLLIN;
    if (bind(fds[0].fd, (struct sockaddr *)&addr, sizeof addr) || listen(fds[0].fd, 16))
        return 1;
    for (;;) {
        poll(fds, count, -1);
        for (int at = count - 1; at > 0; at--)
            if (fds[at].revents)
                echo(at);
        if (fds[0].revents)
            take();
    }
}
