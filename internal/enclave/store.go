package enclave

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file opens the state file and gives it its shape. What the rows mean is
// in record.go and rows.go.

// stateFormat is the version of the file's format. A file of a later one is refused.
const stateFormat = 1

// lockPatience is how long OpenStore waits for another process to let go of the file.
const lockPatience = 2 * time.Second

// The buckets at the top of the file, and those of an enclave.
var (
	bucketMeta     = []byte("meta")
	bucketEnclaves = []byte("enclaves")
	bucketHistory  = []byte("history") // of enclaves

	keyFormat  = []byte("format")
	keyEnclave = []byte("enclave")  // in an enclave's bucket: its own row
	keyLastRun = []byte("last_run") // in an enclave's bucket
	keyLinks   = []byte("links")    // in an enclave's bucket: the connections between subnetworks

	bucketArtifacts      = []byte("artifacts")
	bucketServices       = []byte("services")
	bucketServiceHistory = []byte("service_history")
	bucketValues         = []byte("values")
	bucketValueIDs       = []byte("value_ids")
	bucketRuns           = []byte("runs")
	bucketEvents         = []byte("events")
	bucketFaults         = []byte("faults")
	bucketSteps          = []byte("steps")
)

// A Store is the state file. Safe for concurrent use; a write is on disk when
// its call returns.
type Store struct {
	db *bbolt.DB
	// hook is called around every write with the point's name, in tests of
	// crashes: an error in place of "before" is a write that never happened, in
	// place of "after" one whose news never arrived.
	hook func(point string) error
}

// OpenStore opens the state file, making it if there is none. A file that
// another process holds is an E0360, one of a later format an E0361.
func OpenStore(path string) (*Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockPatience, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fault.New("E0360", "state file %s is in use by another engine: %w", path, err).
			WithHint("stop the other engine first: lepto engine stop")
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fault.New("E0362", "state file %s is damaged: %w", path, err).
			WithHint("put the file aside (mv %s %s.bad); what runs will then be cleared away at the next start", path, path)
	case errors.Is(err, os.ErrPermission):
		return nil, fault.New("E0362", "state file %s can't be opened: %w", path, err).WithHint("the engine runs as root")
	case err != nil:
		return nil, fmt.Errorf("state file %s: %w", path, err)
	}
	s := &Store{db: db}
	if err := s.prepare(path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// prepare makes the top buckets and checks the format.
func (s *Store) prepare(path string) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketEnclaves, bucketHistory} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return fmt.Errorf("state file %s: %w", path, err)
			}
		}
		meta := tx.Bucket(bucketMeta)
		written := meta.Get(keyFormat)
		if written == nil {
			return meta.Put(keyFormat, []byte(strconv.Itoa(stateFormat)))
		}
		if version, err := strconv.Atoi(string(written)); err != nil || version > stateFormat {
			return fault.New("E0361", "state file %s has format %s; this lepto knows formats up to %d", path, written, stateFormat).
				WithHint("it was written by a later lepto: use that one, or another LEPTO_HOME")
		}
		return nil
	})
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// update is a write transaction with a name.
func (s *Store) update(point string, fn func(*bbolt.Tx) error) error {
	if err := s.call("before " + point); err != nil {
		return err
	}
	if err := s.db.Update(fn); err != nil {
		return fmt.Errorf("write state (%s): %w", point, err)
	}
	return s.call("after " + point)
}

func (s *Store) call(point string) error {
	if s.hook == nil {
		return nil
	}
	return s.hook(point)
}

// updateEnclave is a write transaction on the bucket of one enclave.
func (s *Store) updateEnclave(uuid, point string, fn func(*bbolt.Bucket) error) error {
	return s.update(point, func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketEnclaves).Bucket([]byte(uuid))
		if b == nil {
			return fmt.Errorf("enclave %s: %w", uuid, fault.ErrNotFound)
		}
		return fn(b)
	})
}

// viewEnclave is a read transaction on the bucket of one enclave.
func (s *Store) viewEnclave(uuid string, fn func(*bbolt.Bucket) error) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketEnclaves).Bucket([]byte(uuid))
		if b == nil {
			return fmt.Errorf("enclave %s: %w", uuid, fault.ErrNotFound)
		}
		return fn(b)
	})
}

// put writes a row as JSON into a bucket, which it makes if need be.
func put(parent *bbolt.Bucket, bucket, key []byte, row any) error {
	b, err := parent.CreateBucketIfNotExists(bucket)
	if err != nil {
		return err
	}
	return putRow(b, key, row)
}

func putRow(b *bbolt.Bucket, key []byte, row any) error {
	text, err := json.Marshal(row)
	if err != nil {
		return err
	}
	return b.Put(key, text)
}

// appendRow writes a row under the next number of a bucket.
func appendRow(b *bbolt.Bucket, row any) error {
	number, err := b.NextSequence()
	if err != nil {
		return err
	}
	return putRow(b, numberKey(number), row)
}

// numberKey gives a number as a key that sorts by it.
func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// rows decodes every row of a bucket, which may be nil, in order of keys.
func rows[T any](b *bbolt.Bucket) ([]T, error) {
	var out []T
	if b == nil {
		return nil, nil
	}
	err := b.ForEach(func(key, text []byte) error {
		var row T
		if err := json.Unmarshal(text, &row); err != nil {
			return fmt.Errorf("row %q: %w", key, err)
		}
		out = append(out, row)
		return nil
	})
	return out, err
}
