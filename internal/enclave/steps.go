package enclave

import (
	"cmp"
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"
)

// This file keeps what steps of plans have done in the enclave, for later runs:
// what is done already need not be done again.

// A StepRecord tells of one step, or one service of several that a step adds. It
// is written once the step has succeeded, or has failed half-way. What steps say
// is kept as digests: texts may hold secrets.
type StepRecord struct {
	ID     string `json:"id"`
	About  string `json:"about"`            // what it does to what, for finding it again once its call has changed
	Number uint64 `json:"number"`           // in the order of ends, from 1
	Ran    uint64 `json:"ran"`              // the number of the run that executed it
	Seen   uint64 `json:"seen"`             // the number of the last run whose plan had it
	Failed bool   `json:"failed,omitempty"` // it did not succeed, and may have changed what it Makes
	// Said has the digests of what it says, by name, without the ids of values.
	Said map[string]string `json:"said,omitempty"`
	Refs []string          `json:"refs,omitempty"` // ids of the values it refers to, in order
	// Filled is the digest of what it says with the values filled in.
	Filled string            `json:"filled,omitempty"`
	Uses   map[string]string `json:"uses,omitempty"`   // resource to its version then
	Makes  map[string]string `json:"makes,omitempty"`  // resource to its version since
	Values []string          `json:"values,omitempty"` // ids of the values it gave, in order
}

// StepsChange is what one transaction does to the records of steps.
type StepsChange struct {
	Put    []StepRecord
	Delete []string // ids
}

// StepRecords gives the records of steps, in no order.
func (e *Enclave) StepRecords() (out []StepRecord, err error) {
	err = e.m.store.viewEnclave(e.uuid, func(b *bbolt.Bucket) (err error) {
		out, err = rows[StepRecord](b.Bucket(bucketSteps))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("steps of enclave %q: %w", e.Name(), err)
	}
	return out, nil
}

// ChangeSteps writes records of steps, and deletes others.
func (e *Enclave) ChangeSteps(c StepsChange) error {
	return e.m.store.updateEnclave(e.uuid, "steps", func(b *bbolt.Bucket) error {
		steps, err := b.CreateBucketIfNotExists(bucketSteps)
		if err != nil {
			return err
		}
		for _, id := range c.Delete {
			if err := steps.Delete([]byte(id)); err != nil {
				return err
			}
		}
		for _, record := range c.Put {
			text, err := json.Marshal(record)
			if err != nil {
				return err
			}
			if err := steps.Put([]byte(record.ID), text); err != nil {
				return err
			}
		}
		return nil
	})
}

// Making gives the id of the present making of a service, by name; empty if
// there is no such service.
func (e *Enclave) Making(service string) string {
	row := e.serviceRow(service)
	if row == nil {
		return ""
	}
	return cmp.Or(row.Making, row.UUID)
}

// Content gives the hash of a files artifact's content, by name; empty if there
// is no such artifact.
func (e *Enclave) Content(artifact string) string {
	a, _ := e.artifact(artifact)
	return a.Hash
}
