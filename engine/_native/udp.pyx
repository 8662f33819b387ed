"""Datagrams in batches: one system call for many of them, either way (recvmmsg(2), sendmmsg(2)), and addresses that are made once."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint16_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import os
import socket


cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family
    cdef struct sockaddr_storage:
        unsigned short ss_family
    cdef struct iovec:
        void *iov_base
        size_t iov_len
    cdef struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        int msg_flags
    enum: MSG_DONTWAIT, MSG_NOSIGNAL, AF_INET, AF_INET6

cdef extern from *:
    """
    #include <sys/socket.h>
    #include <netinet/in.h>
    #include <arpa/inet.h>
    struct datagram { struct msghdr msg_hdr; unsigned int msg_len; };
    _Static_assert(sizeof(struct datagram) == sizeof(struct mmsghdr), "laid out as struct mmsghdr is");
    static int receive_many(int fd, struct datagram *vector, unsigned count) {
        return recvmmsg(fd, (struct mmsghdr *)vector, count, MSG_DONTWAIT, 0);
    }
    static int send_many(int fd, struct datagram *vector, unsigned count) {
        return sendmmsg(fd, (struct mmsghdr *)vector, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    """
    cdef struct datagram:
        msghdr msg_hdr
        unsigned int msg_len
    int receive_many(int fd, datagram *vector, unsigned count) nogil
    int send_many(int fd, datagram *vector, unsigned count) nogil

DATAGRAM_MAX_BYTES = 65536
PEERS_KEPT = 16384
cdef enum:
    BATCH = 32
    ROOM = 65536
    NAME = 128  # bytes of a sockaddr_storage




@cython.final
@cython.auto_pickle(False)
cdef class Datagrams:
    """The socket of a file descriptor, which must be bound, and outlives this. Belongs to one thread."""

    cdef int fd
    cdef bint six
    cdef uint8_t *room
    cdef datagram reading[BATCH]
    cdef datagram writing[BATCH]
    cdef iovec read_spans[BATCH]
    cdef iovec write_spans[BATCH]
    cdef uint8_t names[BATCH * NAME]
    cdef dict peers  # sockaddr -> (host, port)
    cdef dict sockaddrs  # (host, port) -> sockaddr

    def __cinit__(self, int fd, bint six):
        cdef int i
        self.fd = fd
        self.six = six
        self.peers = {}
        self.sockaddrs = {}
        self.room = <uint8_t *>malloc(BATCH * ROOM)
        if self.room == NULL:
            raise MemoryError
        memset(self.reading, 0, sizeof(self.reading))
        memset(self.writing, 0, sizeof(self.writing))
        for i in range(BATCH):
            self.read_spans[i].iov_base = self.room + i * ROOM
            self.read_spans[i].iov_len = ROOM
            self.reading[i].msg_hdr.msg_iov = &self.read_spans[i]
            self.reading[i].msg_hdr.msg_iovlen = 1
            self.reading[i].msg_hdr.msg_name = self.names + i * NAME
            self.writing[i].msg_hdr.msg_iov = &self.write_spans[i]
            self.writing[i].msg_hdr.msg_iovlen = 1

    def __dealloc__(self):
        free(self.room)

    def receive(self):
        """The datagrams that are there, at most 32: a list of (bytes, (host, port)). Raises OSError; nothing there is an empty list."""
        cdef int i, count, fault
        cdef bytes name
        cdef list found = []
        for i in range(BATCH):
            self.reading[i].msg_hdr.msg_namelen = NAME
        with nogil:
            count = receive_many(self.fd, self.reading, BATCH)
            fault = errno
        if count < 0:
            if fault == EAGAIN or fault == EINTR:
                return found
            raise OSError(fault, os.strerror(fault))
        for i in range(count):
            name = PyBytes_FromStringAndSize(<char *>self.names + i * NAME, min(<int>self.reading[i].msg_hdr.msg_namelen, <int>NAME))
            peer = self.peers.get(name)
            if peer is None:
                peer = self._peer(name)
            found.append((PyBytes_FromStringAndSize(<char *>self.room + i * ROOM, self.reading[i].msg_len), peer))
        return found

    cdef object _peer(self, bytes name):
        """Address and port of a sockaddr."""
        cdef const uint8_t *raw = <const uint8_t *>PyBytes_AS_STRING(name)
        cdef Py_ssize_t count = PyBytes_GET_SIZE(name)
        cdef uint16_t family = 0
        if count >= 2:
            memcpy(&family, raw, 2)
        if family == AF_INET and count >= 8:
            peer = (socket.inet_ntop(socket.AF_INET, name[4:8]), raw[2] << 8 | raw[3])
        elif family == AF_INET6 and count >= 24:
            peer = (socket.inet_ntop(socket.AF_INET6, name[8:24]), raw[2] << 8 | raw[3])
        else:
            return ("", 0)
        if len(self.peers) >= PEERS_KEPT:
            self.peers.clear()
            self.sockaddrs.clear()
        self.peers[name] = peer
        self.sockaddrs.setdefault(peer, name)
        return peer

    cdef bytes _sockaddr(self, tuple peer):
        """A peer that we speak to first."""
        cdef bytes port
        host, number = peer
        if not 0 <= number <= 65535:
            raise OverflowError(f"{number} is no port")
        port = (<int>number).to_bytes(2, "big")
        try:
            if self.six:
                host, _, zone = host.partition("%")
                scope = 0 if not zone else int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
                name = (<int>AF_INET6).to_bytes(2, "little") + port + bytes(4) + socket.inet_pton(socket.AF_INET6, host) + scope.to_bytes(4, "little")
            else:
                name = (<int>AF_INET).to_bytes(2, "little") + port + socket.inet_pton(socket.AF_INET, host) + bytes(8)
        except (OSError, ValueError) as error:
            raise OSError(f"{host!r} is no address that this socket leads to") from error
        if len(self.sockaddrs) >= PEERS_KEPT:
            self.peers.clear()
            self.sockaddrs.clear()
        self.sockaddrs[peer] = name
        return name

    def send(self, list waiting not None):
        """Hands datagrams, (bytes, (host, port)) each, to the kernel, in order: (how many are done, how many of those could not be
        sent). Fewer than all are done where the kernel has no room now. Raises nothing for a datagram that cannot be sent."""
        cdef Py_ssize_t done = 0, total = len(waiting), failed = 0
        cdef int count, i, sent, fault
        cdef bytes data, name
        cdef tuple peer
        cdef list held
        while done < total:
            count = 0
            held = []
            while count < BATCH and done + count < total:
                data, peer = waiting[done + count]
                name = self.sockaddrs.get(peer)
                if name is None:
                    try:
                        name = self._sockaddr(peer)
                    except (OSError, OverflowError):
                        if count:
                            break  # those before it first
                        done += 1
                        failed += 1
                        continue
                held.append(name)
                self.write_spans[count].iov_base = PyBytes_AS_STRING(data)
                self.write_spans[count].iov_len = PyBytes_GET_SIZE(data)
                self.writing[count].msg_hdr.msg_name = PyBytes_AS_STRING(name)
                self.writing[count].msg_hdr.msg_namelen = <socklen_t>PyBytes_GET_SIZE(name)
                count += 1
            if not count:
                continue
            with nogil:
                sent = send_many(self.fd, self.writing, count)
                fault = errno
            if sent < 0:
                if fault == EAGAIN:
                    break
                if fault == EINTR:
                    continue
                done += 1  # the first of them is at fault: too long, no way there, not allowed
                failed += 1
            else:
                done += sent
        return done, failed
