package enclave

import (
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/lepto-dev/lepto/internal/link"
)

// This file reads and writes the rows of enclaves and services.

// enclaves lists the rows of all enclaves.
func (s *Store) enclaves() ([]enclaveRow, error) {
	var out []enclaveRow
	err := s.db.View(func(tx *bbolt.Tx) error {
		all := tx.Bucket(bucketEnclaves)
		return all.ForEachBucket(func(uuid []byte) error {
			var row enclaveRow
			if err := json.Unmarshal(all.Bucket(uuid).Get(keyEnclave), &row); err != nil {
				return fmt.Errorf("enclave %s: %w", uuid, err)
			}
			out = append(out, row)
			return nil
		})
	})
	return out, err
}

// links gives the connections of an enclave; nil if none was ever set.
func (s *Store) links(uuid string) (t *link.Topology, err error) {
	err = s.viewEnclave(uuid, func(b *bbolt.Bucket) error {
		text := b.Get(keyLinks)
		if text == nil {
			return nil
		}
		t = &link.Topology{}
		return json.Unmarshal(text, t)
	})
	return t, err
}

func (s *Store) putLinks(uuid, point string, t link.Topology) error {
	return s.updateEnclave(uuid, point, func(b *bbolt.Bucket) error { return putRow(b, keyLinks, t) })
}

// putEnclave writes an enclave's row, making its bucket if need be and, where
// asked to, entering it into the history.
func (s *Store) putEnclave(point string, row enclaveRow, enter bool) error {
	return s.update(point, func(tx *bbolt.Tx) error {
		b, err := tx.Bucket(bucketEnclaves).CreateBucketIfNotExists([]byte(row.UUID))
		if err != nil {
			return err
		}
		if enter {
			if err := appendRow(tx.Bucket(bucketHistory), Identifier{UUID: row.UUID, Name: row.Name}); err != nil {
				return err
			}
		}
		return putRow(b, keyEnclave, row)
	})
}

// deleteEnclave deletes all rows of an enclave but its history's. Idempotent.
func (s *Store) deleteEnclave(point, uuid string) error {
	return s.update(point, func(tx *bbolt.Tx) error {
		all := tx.Bucket(bucketEnclaves)
		if all.Bucket([]byte(uuid)) == nil {
			return nil
		}
		return all.DeleteBucket([]byte(uuid))
	})
}

func (s *Store) enclaveHistory() ([]Identifier, error) {
	var out []Identifier
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		out, err = rows[Identifier](tx.Bucket(bucketHistory))
		return err
	})
	return out, err
}

// services lists the rows of an enclave's services, by name.
func (s *Store) services(uuid string) (out []*serviceRow, err error) {
	err = s.viewEnclave(uuid, func(b *bbolt.Bucket) (err error) {
		out, err = rows[*serviceRow](b.Bucket(bucketServices))
		return err
	})
	return out, err
}

func (s *Store) serviceHistory(uuid string) (out []Identifier, err error) {
	err = s.viewEnclave(uuid, func(b *bbolt.Bucket) (err error) {
		out, err = rows[Identifier](b.Bucket(bucketServiceHistory))
		return err
	})
	return out, err
}

// change is what one transaction does to the services of an enclave.
type change struct {
	put    []*serviceRow
	remove []string // names
	enter  []Identifier
}

// changeServices applies a change, whole or not at all.
func (s *Store) changeServices(uuid, point string, c change) error {
	return s.updateEnclave(uuid, point, func(b *bbolt.Bucket) error {
		services, err := b.CreateBucketIfNotExists(bucketServices)
		if err != nil {
			return err
		}
		for _, name := range c.remove {
			if err := services.Delete([]byte(name)); err != nil {
				return err
			}
		}
		for _, row := range c.put {
			if err := putRow(services, []byte(row.Name), row); err != nil {
				return err
			}
		}
		if len(c.enter) == 0 {
			return nil
		}
		history, err := b.CreateBucketIfNotExists(bucketServiceHistory)
		if err != nil {
			return err
		}
		for _, id := range c.enter {
			if err := appendRow(history, id); err != nil {
				return err
			}
		}
		return nil
	})
}
