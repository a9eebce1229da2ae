// Package freeport finds ports for the servers that tests and benchmarks start.
package freeport

import (
	"math/rand/v2"
	"net"
	"strconv"
)

// Addr is an address of the loopback interface, host:port, that nothing
// listened on a moment ago. Its port is below those that systems give to
// connections by themselves: no client takes it before the server listens, nor
// while the server is away, when one that tried to reach it from its very port
// would reach itself and keep the port.
func Addr() (string, error) {
	var last error
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(15_000+rand.IntN(17_000)))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, l.Close()
		}
		last = err
	}
	return "", last
}
