package shape

import (
	"cmp"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/link"
)

func sortStats(stats []link.Stats) {
	slices.SortFunc(stats, func(a, b link.Stats) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
}

// kernel is a connection to the kernel's network configuration in a namespace.
type kernel struct {
	handle *netlink.Handle
	socket *nl.NetlinkSocket // for requests that the library can't make
}

// newKernel connects to the namespace of the calling thread.
func newKernel() (*kernel, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		handle.Close()
		return nil, err
	}
	return &kernel{handle, socket}, nil
}

func (k *kernel) close() {
	k.handle.Close()
	k.socket.Close()
}

// execute sends a request of our own.
func (k *kernel) execute(req *nl.NetlinkRequest) error {
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: k.socket}}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// setPort switches something of a port of a bridge (bridge(8)).
func (k *kernel) setPort(index, attr int, on bool) error {
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(index)
	info := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	value := byte(0)
	if on {
		value = 1
	}
	info.AddRtAttr(attr, []byte{value})
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	req.AddData(msg)
	req.AddData(info)
	return k.execute(req)
}
