package shape

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/backend/native/relay"
	"github.com/lepto-dev/lepto/internal/link"
)

// Mechanism is a way to shape links.
type Mechanism string

// The mechanisms, the best first.
const (
	Netem  Mechanism = "netem"
	Relay  Mechanism = "relay"
	Unable Mechanism = ""
)

// WhyUnable tells what a host lacks where neither mechanism works.
const WhyUnable = "it takes the kernel's sch_netem with sch_htb and cls_u32, or TUN with clsact, cls_u32 and act_mirred (CONFIG_TUN, CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_U32, CONFIG_NET_ACT_MIRRED)"

// Probe finds out, once, which mechanism this kernel has. It tries both in a
// network namespace that nobody sees.
var Probe = sync.OnceValue(func() Mechanism {
	for _, m := range []struct {
		mechanism Mechanism
		try       func(*kernel, int) error
	}{{Netem, tryNetem}, {Relay, tryRedirect}} {
		if scratch(m.try) == nil {
			return m.mechanism
		}
	}
	return Unable
})

// ProbeRelay reports, having tried once, whether the relay would work here.
var ProbeRelay = sync.OnceValue(func() bool { return scratch(tryRedirect) == nil })

// scratch runs a trial in a namespace of its own, on its loopback device.
func scratch(try func(*kernel, int) error) error {
	return netspace.Scratch(func() error {
		k, err := newKernel()
		if err != nil {
			return err
		}
		defer k.close()
		lo, err := k.handle.LinkByName("lo")
		if err != nil {
			return err
		}
		return try(k, lo.Attrs().Index)
	})
}

// someone is any address.
var someone = netip.AddrFrom4([4]byte{192, 0, 2, 1})

func tryNetem(k *kernel, lo int) error {
	return k.netem(&port{index: lo}, 1, someone, 1, trial)
}

func tryRedirect(k *kernel, _ int) error {
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer tun.Close()
	request, err := unix.NewIfreq("trial%d")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(int(tun.Fd()), unix.TUNSETIFF, request); err != nil {
		return os.NewSyscallError("TUNSETIFF", err)
	}
	device, err := k.handle.LinkByName(request.Name())
	if err != nil {
		return err
	}
	index := device.Attrs().Index
	made := redirects{subnet: netip.PrefixFrom(someone, 24).Masked()}
	table := relay.Table{
		Links:     link.Table{Topology: link.Topology{Default: link.Blocked}, Members: map[string]string{"a": "a", "b": "b"}},
		Addresses: map[string]netip.Addr{"a": someone, "b": someone.Next()},
	}
	if err := made.bringTo(k, &table, index); err != nil {
		return err
	}
	found := redirects{subnet: made.subnet}
	if err := found.learn(k, index); err != nil {
		return err
	}
	a, b := made.number(someone), made.number(someone.Next())
	if len(found.now.sources) != 2 || !found.now.redirects(a, b) || !found.now.redirects(b, a) {
		return fmt.Errorf("filters were not found again: %w", errors.ErrUnsupported)
	}
	return nil
}
