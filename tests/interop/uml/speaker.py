"""Begins conversations from inside the guest kernel, one for each line of standard input:

  CELL FROM TO SIZE,SIZE,... OPTIONS answered|once

For each SIZE it sends a datagram of so many octets to port 7000 + its place in the list, and waits for one from there,
unless it is `once`.
Which octets they are follows from SEED, the first argument, and from who says them in which place of which cell; the
second argument is a port: what arrives there in UDP may be ESP (RFC 3948). OPTIONS are those of IPv4, or headers of IPv6 with
commas between them (hop-by-hop, destination options, routing), in hexadecimal; or `-`.

Prints `CELL ok` or `CELL` and what was wrong, one a line.
"""
import hashlib
import select
import signal
import socket
import sys

UDP_ENCAP, ESP_IN_UDP = 100, 2
SO_NO_CHECK = 11
PATIENCE = 5    # seconds that an answer may take
SOURCE_ROUTE = "83"
IPV6_HOPOPTS, IPV6_RTHDR, IPV6_DSTOPTS = 54, 57, 59


def main(seed, encapsulated):
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
    for line in sockets:
        if line.family == socket.AF_INET6:
            line.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        line.bind(("", int(encapsulated)))
        line.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, ESP_IN_UDP)
    print("ready", flush=True)
    for request in sys.stdin:
        cell, source, target, sizes, options, kind = request.split()
        try:
            wrong = converse(seed, cell, source, target, [int(size) for size in sizes.split(",")], options,
                             kind == "answered")
        except OSError as error:
            wrong = str(error)
        print(cell, wrong or "ok", flush=True)
    signal.pause()    # the sockets stay


def converse(seed, cell, source, target, sizes, options, answered):
    v6 = ":" in source
    ancillary = []
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind((source, 0))
        if options != "-" and v6:
            kinds = (IPV6_HOPOPTS, IPV6_DSTOPTS, IPV6_RTHDR)
            ancillary = [(socket.IPPROTO_IPV6, kind, bytes.fromhex(header))
                         for kind, header in zip(kinds, options.split(",")) if header]
        elif options != "-":
            line.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes.fromhex(options))
            if options.startswith(SOURCE_ROUTE):    # Linux computes the checksum for the first hop, not for the last
                line.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        for place, size in enumerate(sizes):
            line.sendmsg([octets(seed, cell, "kernel", place, size)], ancillary, 0, (target, 7000 + place))
        waiting = {7000 + place: octets(seed, cell, "ours", place, size) for place, size in enumerate(sizes)}
        while answered and waiting:
            if not select.select([line], [], [], PATIENCE)[0]:
                return f"{len(waiting)} of {len(sizes)} answers did not come"
            answer, (_, port, *_) = line.recvfrom(65536)
            if waiting.pop(port, None) != answer:
                return f"an answer of {len(answer)} octets from port {port} that is not the right one"


def octets(seed, cell, who, place, size):
    return hashlib.shake_128(f"{seed} {cell} {who} {place}".encode()).digest(size)


if __name__ == "__main__":
    main(*sys.argv[1:])
