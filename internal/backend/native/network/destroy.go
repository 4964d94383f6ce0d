package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/gateway"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// This file takes networks away.

const flagLoopback = net.FlagLoopback

// Destroy removes the network of an enclave, and Close's the handle. See the
// function Destroy.
func (n *Network) Destroy(ctx context.Context) error {
	n.Close()
	return Destroy(ctx, n.cfg)
}

// Destroy removes everything of an enclave's network: the gateway process,
// namespaces, links, routes, firewall rules, files. It needs the id and the
// folder only, not a handle, and works on a network that is half made or half
// removed. Idempotent. It goes on after an error and gives them all. The
// enclave's services must have ended: what still runs loses its network.
func Destroy(ctx context.Context, cfg Config) error {
	if err := checkID(cfg.ID); err != nil {
		return err
	}
	names := namesOf(cfg)
	errs := []error{
		gateway.Stop(ctx, names.netDir),
		// Before the namespaces: the kernel takes those apart in the background,
		// and whoever changes links then waits for it.
		removeFromHost(ctx, names),
		removeSpaces(names),
	}
	if err := errors.Join(errs...); err != nil {
		// The folder stays, so that the next try finds what is left.
		return fmt.Errorf("remove network of enclave %s: %w", cfg.ID.Short(), err)
	}
	return os.RemoveAll(names.netDir)
}

// removeSpaces unbinds the namespaces of the services and of the enclave.
func removeSpaces(names names) error {
	entries, err := os.ReadDir(names.endpoints)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, e := range entries {
		err = errors.Join(err, netspace.Remove(filepath.Join(names.endpoints, e.Name())))
	}
	return errors.Join(err, netspace.Remove(names.netns))
}

// removeFromHost removes what the host's own namespace has of the enclave.
func removeFromHost(ctx context.Context, names names) error {
	h, err := lockHost(ctx)
	if err != nil {
		return err
	}
	defer h.unlock()
	return errors.Join(
		leaveForeignChains(names),
		h.removeUplink(names.uplink),
		removeTable(names.table),
		h.restoreForwarding(),
		h.leaveRoom(names.uplink),
	)
}

// removeUplink deletes the pair; addresses and routes go with it.
func (h *host) removeUplink(name string) error {
	link, err := h.handle.LinkByName(name)
	if err == nil {
		err = h.handle.LinkDel(link)
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("remove link %s: %w", name, err)
	}
	return nil
}

func removeTable(name string) error {
	return withTables(nil, func(c *nftables.Conn) error {
		rewriteTable(c, name) // so that there is one to delete
		c.DelTable(&nftables.Table{Name: name, Family: nftables.TableFamilyIPv4})
		if err := c.Flush(); err != nil {
			return fmt.Errorf("remove nft table %s: %w", name, err)
		}
		return nil
	})
}

// isGone reports that a link was not there, or went while we looked.
func isGone(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing) || errors.Is(err, unix.ENODEV)
}
