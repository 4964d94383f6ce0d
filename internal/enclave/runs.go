package enclave

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file keeps what runs leave behind: the values of future references, the
// events, and the arguments of the last run.

// keptRuns is how many runs of an enclave keep their events.
const keptRuns = 20

// LoadValue gives the fields of a value slot as Starlark text. An empty map: it
// is known, but not filled yet. fault.ErrNotFound if it isn't known.
func (e *Enclave) LoadValue(id string) (map[string]string, error) {
	fields := map[string]string{}
	err := e.m.store.viewEnclave(e.uuid, func(b *bbolt.Bucket) error {
		if text := get(b, bucketValues, []byte(id)); text != nil {
			return json.Unmarshal(text, &fields)
		}
		known := false
		if ids := b.Bucket(bucketValueIDs); ids != nil {
			_ = ids.ForEach(func(_, v []byte) error { // never fails: the function doesn't
				known = known || string(v) == id
				return nil
			})
		}
		if !known {
			return fault.ErrNotFound
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("value %s: %w", id, err)
	}
	return fields, nil
}

func get(b *bbolt.Bucket, bucket, key []byte) []byte {
	if inner := b.Bucket(bucket); inner != nil {
		return inner.Get(key)
	}
	return nil
}

// StoreValue replaces the fields of a value slot.
func (e *Enclave) StoreValue(id string, fields map[string]string) error {
	return e.StoreValueAndIDs(id, fields, nil)
}

// StoreValueAndIDs is StoreValue and AddServiceValueIDs in one transaction: the
// disk is awaited once.
func (e *Enclave) StoreValueAndIDs(id string, fields, ids map[string]string) error {
	return e.m.store.updateEnclave(e.uuid, "value", func(b *bbolt.Bucket) error {
		if err := put(b, bucketValues, []byte(id), fields); err != nil {
			return err
		}
		return putValueIDs(b, ids)
	})
}

// ServiceValueIDs gives the ids of the value slots of services, by name, as far
// as there are any. A name keeps its id as long as the enclave lives.
func (e *Enclave) ServiceValueIDs() (map[string]string, error) {
	ids := map[string]string{}
	err := e.m.store.viewEnclave(e.uuid, func(b *bbolt.Bucket) error {
		inner := b.Bucket(bucketValueIDs)
		if inner == nil {
			return nil
		}
		return inner.ForEach(func(name, id []byte) error {
			ids[string(name)] = string(id)
			return nil
		})
	})
	return ids, err
}

// AddServiceValueIDs makes ids durable. A name that has one keeps it.
func (e *Enclave) AddServiceValueIDs(ids map[string]string) error {
	if len(ids) == 0 {
		return nil
	}
	return e.m.store.updateEnclave(e.uuid, "value ids", func(b *bbolt.Bucket) error {
		return putValueIDs(b, ids)
	})
}

func putValueIDs(b *bbolt.Bucket, ids map[string]string) error {
	inner, err := b.CreateBucketIfNotExists(bucketValueIDs)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		if inner.Get([]byte(name)) == nil {
			if err := inner.Put([]byte(name), []byte(ids[name])); err != nil {
				return err
			}
		}
	}
	return nil
}

// ServiceValueID gives the id of a service's value slot, made durable if new.
func (e *Enclave) ServiceValueID(name string) (string, error) {
	ids, err := e.ServiceValueIDs()
	if err != nil || ids[name] != "" {
		return ids[name], err
	}
	if err := e.AddServiceValueIDs(map[string]string{name: e.m.deps.NewID()}); err != nil {
		return "", err
	}
	ids, err = e.ServiceValueIDs() // another caller's id may have come first
	return ids[name], err
}

// RunRecord is what is known of a run besides its events.
type RunRecord struct {
	ID       string    `json:"id"`
	Number   uint64    `json:"number"` // from 1, in order of beginning
	Began    time.Time `json:"began"`
	Finished bool      `json:"finished,omitempty"` // its last event is stored
}

// RunArgs are the arguments of a run, kept for those who ask what ran last.
type RunArgs struct {
	PackageID    string   `json:"package_id"`
	Script       string   `json:"script,omitempty"` // of a lone script
	Params       string   `json:"params"`
	Parallelism  int      `json:"parallelism"`
	MainFile     string   `json:"main_file,omitempty"`
	MainFunction string   `json:"main_function,omitempty"`
	Experimental []string `json:"experimental,omitempty"`
	Production   bool     `json:"production,omitempty"`
}

// Turn waits for the enclave's turn to run: one run at a time. The caller gives
// it back with release. waiting is called, once, if it is taken at present.
func (e *Enclave) Turn(ctx context.Context, waiting func()) (release func(), err error) {
	ctx, done := e.bind(ctx)
	defer done()
	give := func() { e.runs <- struct{}{} }
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	select {
	case <-e.runs:
		return give, nil
	default:
	}
	if waiting != nil {
		waiting()
	}
	select {
	case <-e.runs:
		return give, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// BeginRun enters a run, and lets go of the oldest beyond those that are kept.
func (e *Enclave) BeginRun(id string) error {
	return e.m.store.updateEnclave(e.uuid, "run begun", func(b *bbolt.Bucket) error {
		runs, err := b.CreateBucketIfNotExists(bucketRuns)
		if err != nil {
			return err
		}
		number, err := runs.NextSequence()
		if err != nil {
			return err
		}
		if err := putRow(runs, []byte(id), RunRecord{ID: id, Number: number, Began: e.m.deps.Now().UTC()}); err != nil {
			return err
		}
		return forgetRuns(b, runs)
	})
}

// forgetRuns deletes the oldest runs beyond those that are kept.
func forgetRuns(b, runs *bbolt.Bucket) error {
	all, err := rows[RunRecord](runs)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(x, y RunRecord) int { return int(y.Number) - int(x.Number) })
	events := b.Bucket(bucketEvents)
	for _, old := range all[min(keptRuns, len(all)):] {
		if err := runs.Delete([]byte(old.ID)); err != nil {
			return err
		}
		if events == nil || events.Bucket([]byte(old.ID)) == nil {
			continue
		}
		if err := events.DeleteBucket([]byte(old.ID)); err != nil {
			return err
		}
	}
	return nil
}

// AppendEvent stores one event of a run. See AppendEvents.
func (e *Enclave) AppendEvent(runID string, seq uint64, event []byte) error {
	return e.AppendEvents(runID, seq, [][]byte{event})
}

// AppendEvents stores events of a run under the numbers from first on, in one
// transaction. fault.ErrNotFound if the run is not known, or known no more.
func (e *Enclave) AppendEvents(runID string, first uint64, events [][]byte) error {
	return e.m.store.updateEnclave(e.uuid, "events", func(b *bbolt.Bucket) error {
		return appendEvents(b, runID, first, events, false)
	})
}

// FinishRun stores the last events of a run and, unless they are nil, its
// arguments as those of the run that ended last, in one transaction.
func (e *Enclave) FinishRun(runID string, first uint64, events [][]byte, args *RunArgs) error {
	return e.m.store.updateEnclave(e.uuid, "run finished", func(b *bbolt.Bucket) error {
		if args != nil {
			if err := putRow(b, keyLastRun, args); err != nil {
				return err
			}
		}
		return appendEvents(b, runID, first, events, true)
	})
}

func appendEvents(b *bbolt.Bucket, runID string, first uint64, events [][]byte, finished bool) error {
	text := get(b, bucketRuns, []byte(runID))
	if text == nil {
		return fmt.Errorf("run %s: %w", runID, fault.ErrNotFound)
	}
	all, err := b.CreateBucketIfNotExists(bucketEvents)
	if err != nil {
		return err
	}
	own, err := all.CreateBucketIfNotExists([]byte(runID))
	if err != nil {
		return err
	}
	own.FillPercent = 1 // keys only ever grow
	for i, event := range events {
		if err := own.Put(numberKey(first+uint64(i)), event); err != nil {
			return err
		}
	}
	if !finished {
		return nil
	}
	var record RunRecord
	if err := json.Unmarshal(text, &record); err != nil {
		return err
	}
	record.Finished = true
	return put(b, bucketRuns, []byte(runID), record)
}

// Events gives the stored events of a run from a number on, in order.
// fault.ErrNotFound if the run is not known.
func (e *Enclave) Events(runID string, from uint64) ([][]byte, error) {
	var out [][]byte
	err := e.m.store.viewEnclave(e.uuid, func(b *bbolt.Bucket) error {
		if get(b, bucketRuns, []byte(runID)) == nil {
			return fmt.Errorf("run %s: %w", runID, fault.ErrNotFound)
		}
		all := b.Bucket(bucketEvents)
		if all == nil || all.Bucket([]byte(runID)) == nil {
			return nil
		}
		c := all.Bucket([]byte(runID)).Cursor()
		for k, v := c.Seek(numberKey(from)); k != nil; k, v = c.Next() {
			out = append(out, slices.Clone(v))
		}
		return nil
	})
	return out, err
}

// Runs lists the runs that are kept, oldest first.
func (e *Enclave) Runs() (out []RunRecord, err error) {
	err = e.m.store.viewEnclave(e.uuid, func(b *bbolt.Bucket) (err error) {
		out, err = rows[RunRecord](b.Bucket(bucketRuns))
		return err
	})
	slices.SortFunc(out, func(x, y RunRecord) int { return int(x.Number) - int(y.Number) })
	return out, err
}

// LastRun gives the arguments of the run that ended last; ok is false before
// the first.
func (e *Enclave) LastRun() (args RunArgs, ok bool, err error) {
	err = e.m.store.viewEnclave(e.uuid, func(b *bbolt.Bucket) error {
		text := b.Get(keyLastRun)
		ok = text != nil
		if !ok {
			return nil
		}
		return json.Unmarshal(text, &args)
	})
	if errors.Is(err, fault.ErrNotFound) {
		return args, false, fmt.Errorf("enclave %q: %w", e.Name(), err)
	}
	return args, ok, err
}
