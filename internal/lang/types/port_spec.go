package types

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/lang"
)

// DefaultPortWait is how long a port may take to open where its spec names no
// other time.
const DefaultPortWait = 2 * time.Minute

// PortSpec is a port that a service listens on.
type PortSpec struct {
	_         struct{} `doc:"A port that a service listens on."`
	Number    *uint16  `star:"number,?" check:"range=1..65535" doc:"the port's number; needed when the port is used"`
	Transport string   `star:"transport_protocol,?" check:"enum=TCP|SCTP|UDP" doc:"TCP if not given"`
	App       string   `star:"application_protocol,?" check:"match=^[a-zA-Z0-9+.-]*$" doc:"what is spoken there, such as http; used for the port's URL"`
	Wait      PortWait `star:"wait,?,deep" doc:"how long the port may take to open after the service has started; 2m if not given; None: do not wait. UDP and SCTP ports are not waited for"`
	URL       string   `star:"url,?" check:"query" doc:"the port's URL as shown, in place of the generated one"`
}

// Validate checks a port that is used.
func (p *PortSpec) Validate() error {
	if p.Number == nil {
		return errors.New("needs a number: PortSpec(number = …)")
	}
	return nil
}

// Enclave gives the port as the enclave is asked for it.
func (p *PortSpec) Enclave() enclave.Port {
	return enclave.Port{
		Number:      *p.Number,
		Transport:   backend.Transport(strings.ToLower(p.transport())),
		Application: p.App,
		Wait:        max(p.Wait.duration(), 0),
		URL:         p.URL,
	}
}

func (p *PortSpec) transport() string {
	if p.Transport == "" {
		return "TCP"
	}
	return p.Transport
}

// shown gives the port as a Service has it, with its defaults filled in
// (starlark spec §4).
func (p *PortSpec) shown(service string) *lang.Object {
	fields := []lang.Field{
		{Name: "number", Value: starlark.MakeInt(int(*p.Number))},
		{Name: "transport_protocol", Value: starlark.String(p.transport())},
	}
	add := func(name, value string) {
		fields = append(fields, lang.Field{Name: name, Value: starlark.String(value)})
	}
	if p.App != "" {
		add("application_protocol", p.App)
	}
	if !p.Wait.Never {
		add("wait", p.Wait.duration().String())
	}
	switch {
	case p.URL != "":
		add("url", p.URL)
	case p.App != "":
		add("url", fmt.Sprintf("%s://%s:%d", p.App, service, *p.Number))
	}
	return lang.Make[PortSpec](fields...)
}

// PortWait is a duration, or None for never waiting. Its zero value is the
// default.
type PortWait struct{ optionalDuration }

func (w PortWait) duration() time.Duration {
	switch {
	case w.Never:
		return 0
	case w.set != nil:
		return *w.set
	}
	return DefaultPortWait
}

// portSpecOf gives the spec of a port that the enclave has.
func portSpecOf(port enclave.Port) *PortSpec {
	p := &PortSpec{
		Number:    &port.Number,
		Transport: strings.ToUpper(string(port.Transport)),
		App:       port.Application,
		Wait:      PortWait{optionalDuration{Never: port.Wait == 0, set: &port.Wait}},
		URL:       port.URL,
	}
	return p
}

// optionalDuration is a duration, None, or neither: its zero value is whatever
// the parameter's default is.
type optionalDuration struct {
	Never bool // None
	set   *time.Duration
}

// Wants names what is taken.
func (*optionalDuration) Wants() string { return "duration string or None" }

// UnpackStar reads it.
func (w *optionalDuration) UnpackStar(v starlark.Value) error {
	if v == starlark.None {
		w.Never = true
		return nil
	}
	s, ok := starlark.AsString(v)
	if !ok {
		return fmt.Errorf(`must be a duration such as "30s", or None, not %s`, lang.Describe(v))
	}
	d, err := lang.ParseDuration(s)
	if err != nil {
		return err
	}
	w.set = &d
	return nil
}
