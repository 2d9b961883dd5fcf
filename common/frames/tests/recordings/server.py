# A small echo server. It is recorded by a test: a tracer sees the interpreter's calls, and not this script's lines.
import select
import socket
import sys

listener = socket.socket()
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
connections = {}
poller = select.poll()
poller.register(listener, select.POLLIN)
while True:
    for fd, _ in poller.poll():
        if fd == listener.fileno():
            connection, _ = listener.accept()
            connections[connection.fileno()] = connection
            poller.register(connection, select.POLLIN)
            continue
        data = connections[fd].recv(4096)
        if data:
            connections[fd].sendall(data)
        else:
            poller.unregister(fd)
            connections.pop(fd).close()
