// Command lab measures links from inside containers: one static program, whose
// clocks are the host's, so that a packet's way can be timed in one direction.
//
//	lab serve                      UDP 7000, also of the group 239.7.0.1, is timed, UDP 7003 and TCP 7004 echo, TCP 7002 swallows; TCP 7001 tells
//	lab reset | dump | count       forget, print as JSON, or count what UDP 7000 has got (on the serving side)
//	lab send HOST N EVERY SIZE     datagrams to 7000, one at a time
//	lab flood HOST TIME SIZE       as many as go
//	lab tcp HOST TIME              prints megabits a second, as the other side counted them
//	lab rtt HOST N EVERY           prints, as JSON, the milliseconds that echoes took; lost ones are missing
//	lab dial HOST                  exits 0 if a TCP connection opens within a second
//	lab greet HOST…                a datagram to each
//	lab hold HOST TIME             talks over one TCP connection, and prints the longest silence in milliseconds
//	lab blurt HOST                 sends at once and for a while, whatever becomes of it, then waits
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func main() {
	commands := map[string]func([]string){
		"serve": serve, "reset": tell, "dump": tell, "count": tell, "send": send, "flood": flood, "tcp": stream, "rtt": rtt, "dial": dial, "greet": greet, "hold": hold, "blurt": blurt,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		die("usage: lab COMMAND ARGS…")
	}
	commands[os.Args[1]](os.Args[2:])
}

func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "lab: "+format+"\n", args...)
	os.Exit(1)
}

func check(err error) {
	if err != nil {
		die("%v", err)
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	check(err)
	return n
}

func duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	check(err)
	return d
}

// Arrival is a datagram as it came in.
type Arrival struct {
	Seq uint32  `json:"seq"`
	MS  float64 `json:"ms"` // on its way
}

// record is what UDP 7000 has got.
type record struct {
	mu    sync.Mutex
	list  []Arrival
	count int
}

const keep = 100_000

func serve([]string) {
	var got record
	udp := listenUDP(7000)
	check(stamped(udp))
	check(joined(udp))
	go got.collect(udp)
	go echoUDP(listenUDP(7003))
	accept(7002, swallow)
	accept(7004, func(c net.Conn) { _, _ = io.Copy(c, c) })
	accept(7001, got.tell) // the last: it is what a run waits for
	fmt.Println("serving")
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}

func listenUDP(port int) *net.UDPConn {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	check(err)
	_ = conn.SetReadBuffer(8 << 20)
	return conn
}

// accept listens, and serves who connects meanwhile.
func accept(port int, handle func(net.Conn)) {
	var config net.ListenConfig
	if port == 7002 {
		config.Control = buffers
	}
	l, err := config.Listen(context.Background(), "tcp4", fmt.Sprint(":", port))
	check(err)
	go func() {
		for {
			conn, err := l.Accept()
			check(err)
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
}

func echoUDP(conn *net.UDPConn) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		check(err)
		_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
	}
}

// buffers gives a socket, before it connects, room for a long and fast line, which
// the system's default has not; where the process may (CAP_NET_ADMIN).
func buffers(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		for _, option := range []int{syscall.SO_SNDBUFFORCE, syscall.SO_RCVBUFFORCE} {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, option, 8<<20)
		}
	})
}

// swallow tells, at the end, how many megabits a second came.
func swallow(c net.Conn) {
	var total, steady int64
	var began, last time.Time
	buf := make([]byte, 256<<10)
	for {
		n, err := c.Read(buf)
		now := time.Now()
		if total == 0 {
			began = now
		}
		if total += int64(n); n > 0 && now.Sub(began) > rampUp {
			steady += int64(n)
			last = now
		}
		if err != nil {
			break
		}
	}
	rate := float64(total) * 8 / 1e6 / time.Since(began).Seconds()
	if steady > 0 {
		rate = float64(steady) * 8 / 1e6 / (last.Sub(began) - rampUp).Seconds()
	}
	_ = binary.Write(c, binary.BigEndian, rate)
}

// rampUp is how long a stream gets to find its speed before it is timed.
const rampUp = 2 * time.Second

// stamped has the kernel note when a datagram arrives, which the load of the
// machine does not change.
func stamped(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		inner = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1)
	})
	if inner != nil {
		return inner
	}
	return err
}

// joined has the socket get what is for a group.
func joined(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		inner = syscall.SetsockoptIPMreq(int(fd), syscall.IPPROTO_IP, syscall.IP_ADD_MEMBERSHIP, &syscall.IPMreq{Multiaddr: [4]byte{239, 7, 0, 1}})
	})
	if inner != nil {
		return inner
	}
	return err
}

func (r *record) collect(conn *net.UDPConn) {
	buf, oob := make([]byte, 64<<10), make([]byte, 256)
	for {
		n, oobn, _, _, err := conn.ReadMsgUDPAddrPort(buf, oob)
		check(err)
		r.mu.Lock()
		r.count++
		if n >= 12 && len(r.list) < keep {
			sent := int64(binary.BigEndian.Uint64(buf[4:]))
			r.list = append(r.list, Arrival{binary.BigEndian.Uint32(buf), float64(arrived(oob[:oobn])-sent) / 1e6})
		}
		r.mu.Unlock()
	}
}

func arrived(oob []byte) int64 {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err == nil {
		for _, m := range messages {
			if m.Header.Type == syscall.SO_TIMESTAMPNS && len(m.Data) >= 16 {
				return int64(binary.NativeEndian.Uint64(m.Data))*1e9 + int64(binary.NativeEndian.Uint64(m.Data[8:]))
			}
		}
	}
	return time.Now().UnixNano()
}

func (r *record) tell(c net.Conn) {
	var command [1]byte
	if _, err := io.ReadFull(c, command[:]); err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if command[0] == 'r' {
		r.list, r.count = nil, 0
		return
	}
	if command[0] == 'c' {
		_ = json.NewEncoder(c).Encode(r.count)
		return
	}
	_ = json.NewEncoder(c).Encode(r.list)
}

func tell([]string) {
	c, err := net.Dial("tcp4", "127.0.0.1:7001")
	check(err)
	_, err = c.Write([]byte(os.Args[1][:1]))
	check(err)
	_, _ = io.Copy(os.Stdout, c)
}

func socket(host string, port int) net.Conn {
	c, err := net.Dial("udp4", net.JoinHostPort(host, strconv.Itoa(port)))
	check(err)
	return c
}

func stamp(packet []byte, seq int) {
	binary.BigEndian.PutUint32(packet, uint32(seq))
	binary.BigEndian.PutUint64(packet[4:], uint64(time.Now().UnixNano()))
}

func send(args []string) {
	c, n, every := socket(args[0], 7000), number(args[1]), duration(args[2])
	packet := make([]byte, max(12, number(args[3])))
	ticker := time.NewTicker(every)
	for seq := range n {
		<-ticker.C
		stamp(packet, seq)
		_, _ = c.Write(packet)
	}
	time.Sleep(settle)
	fmt.Println(n)
}

// settle is how long a sender waits for its last packets to arrive.
const settle = 300 * time.Millisecond

func flood(args []string) {
	c, end := socket(args[0], 7000), time.Now().Add(duration(args[1]))
	packet := make([]byte, max(12, number(args[2])))
	n := 0
	for ; n%64 != 0 || time.Now().Before(end); n++ {
		stamp(packet, n)
		if _, err := c.Write(packet); err != nil {
			time.Sleep(10 * time.Microsecond)
		}
	}
	fmt.Println(n)
}

func stream(args []string) {
	dialer := net.Dialer{Control: buffers}
	c, err := dialer.Dial("tcp4", args[0]+":7002")
	check(err)
	block := make([]byte, 256<<10)
	for end := time.Now().Add(duration(args[1])); time.Now().Before(end); {
		_, err := c.Write(block)
		check(err)
	}
	check(c.(*net.TCPConn).CloseWrite())
	var rate float64
	check(binary.Read(c, binary.BigEndian, &rate))
	fmt.Printf("%.1f\n", rate)
}

func rtt(args []string) {
	c, n, every := socket(args[0], 7003), number(args[1]), duration(args[2])
	out := []float64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for len(out) < n {
			size, err := c.Read(buf)
			if err != nil {
				return
			}
			if size >= 12 {
				out = append(out, float64(time.Now().UnixNano()-int64(binary.BigEndian.Uint64(buf[4:])))/1e6)
			}
		}
	}()
	packet := make([]byte, 64)
	for seq := range n {
		stamp(packet, seq)
		_, _ = c.Write(packet)
		time.Sleep(every)
	}
	check(c.SetReadDeadline(time.Now().Add(3 * time.Second)))
	<-done
	check(json.NewEncoder(os.Stdout).Encode(out))
}

func dial(args []string) {
	c, err := net.DialTimeout("tcp4", args[0]+":7004", time.Second)
	check(err)
	defer c.Close()
	check(c.SetDeadline(time.Now().Add(time.Second)))
	_, err = c.Write([]byte("x"))
	check(err)
	_, err = io.ReadFull(c, make([]byte, 1))
	check(err)
}

func greet(args []string) {
	for _, host := range args {
		c := socket(host, 7000)
		_, _ = c.Write([]byte("hello"))
		c.Close()
	}
}

func hold(args []string) {
	c, err := net.Dial("tcp4", args[0]+":7004")
	check(err)
	fmt.Println("connected")
	longest, last := time.Duration(0), time.Now()
	for end := time.Now().Add(duration(args[1])); time.Now().Before(end); {
		_, err := c.Write([]byte("x"))
		check(err)
		check(c.SetReadDeadline(time.Now().Add(20 * time.Second)))
		_, err = io.ReadFull(c, make([]byte, 1))
		check(err)
		longest, last = max(longest, time.Since(last)), time.Now()
		time.Sleep(5 * time.Millisecond)
	}
	fmt.Println(longest.Milliseconds())
}

// blurt sends from its first instruction on.
func blurt(args []string) {
	c := socket(args[0], 7000)
	for end := time.Now().Add(30 * time.Millisecond); time.Now().Before(end); {
		_, _ = c.Write(make([]byte, 3))
	}
	if conn, err := net.DialTimeout("tcp4", args[0]+":7004", 20*time.Millisecond); err == nil {
		conn.Close()
		die("a connection opened")
	}
	fmt.Println("said all")
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGTERM)
	<-sig
}
