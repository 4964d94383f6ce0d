package instruction

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/plan"
)

// This file says, for a re-run, what decides what an instruction does where that
// is more, or less, than its arguments.

// Says gives the config as it is executed, which set_service may have changed.
func (s *addService) Says() map[string]string { return s.addition.says() }

// Forced reports force_update.
func (s *addService) Forced() bool { return s.force }

// Parts gives the services of the batch: those that are as they should be can be
// left alone.
func (s *addServices) Parts() []plan.Part {
	parts := make([]plan.Part, len(s.additions))
	for i, a := range s.additions {
		parts[i] = plan.Part{Key: plan.ServiceKey(a.name), Effects: a.effects(), Says: a.says()}
	}
	return parts
}

// Forced reports force_update.
func (s *addServices) Forced() bool { return s.force }

// says gives the config, field by field and variable by variable, so that a
// re-run can tell what has changed.
func (a *addition) says() map[string]string {
	says := map[string]string{}
	fields := map[string]json.RawMessage{}
	text, err := json.Marshal(a.config)
	if err == nil {
		err = json.Unmarshal(text, &fields)
	}
	if err != nil {
		panic(err) // a config is plain data
	}
	delete(fields, "env")
	for name, value := range fields {
		says[name] = string(value)
	}
	for name, value := range a.config.Env {
		says["env_vars "+name] = value
	}
	if a.ready != nil {
		c := a.ready.Condition
		says["ready_conditions"] = fmt.Sprintf("%T%+v %s %s %v %v %v", a.ready.Recipe, a.ready.Recipe, c.Field, c.Assertion, c.Target, a.ready.Interval, a.ready.Timeout)
	}
	return says
}

// Says gives what the files have in them: what is uploaded is decided by that,
// not by where it lies.
func (s *uploadFiles) Says() map[string]string {
	if s.web != nil {
		if s.tree == nil { // it was not asked yet
			return map[string]string{"src": s.source}
		}
		return map[string]string{"files": s.tree.Hash}
	}
	return map[string]string{"files": s.digest()}
}

// digest gives what tells the package's files from others.
func (s *uploadFiles) digest() string {
	root, err := os.OpenRoot(s.file.Dir)
	if err != nil {
		return err.Error() // its execution will say so
	}
	defer root.Close()
	digest, err := artifact.Digest(context.Background(), root, s.file.Path, s.above)
	if err != nil {
		return err.Error()
	}
	return digest
}
