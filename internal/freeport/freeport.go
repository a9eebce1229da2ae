// Package freeport finds ports for the servers that tests and benchmarks start.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Kept is how many addresses a process keeps to itself: those it was given last.
const Kept = 512

// kept are the sockets that keep addresses from being given again.
var kept struct {
	sync.Mutex
	ring [Kept]net.PacketConn
	next int
}

// Addr is an address of the loopback interface, host:port, that nothing listens
// on. While it is among the last Kept of this process, no other call gives it,
// in no other process either: the UDP port of the same number stays bound, since
// the server that listens on the TCP one may come late, or go and come back. And
// its port is below those that systems give to connections by themselves: no
// client takes it while the server is away, when one that tried to reach it from
// its very port would reach itself and keep the port.
func Addr() (string, error) {
	var last error
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(15_000+rand.IntN(17_000)))
		if last = keep(addr); last == nil {
			return addr, nil
		}
	}
	return "", fmt.Errorf("find a free port: %w", last)
}

func keep(addr string) error {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	kept.Lock()
	defer kept.Unlock()
	oldest := kept.ring[kept.next]
	kept.ring[kept.next] = c
	kept.next = (kept.next + 1) % Kept
	if oldest != nil {
		err = oldest.Close()
	}
	return errors.Join(err, l.Close())
}
