package types

import (
	"errors"
	"fmt"
	"net/url"
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
	Wait      PortWait `star:"wait,?" doc:"how long the port may take to open after the service has started; 2m if not given, except for SCTP, which can't be waited for; None: do not wait"`
	URL       string   `star:"url,?" check:"nonempty" doc:"the port's URL as shown, in place of the generated one"`
}

// Validate checks a port that is used.
func (p *PortSpec) Validate() error {
	if p.Number == nil {
		return errors.New("needs a number: PortSpec(number = …)")
	}
	if _, err := url.ParseQuery(p.URL); err != nil && p.URL != "" {
		return fmt.Errorf("has the url %q, which can't be parsed", p.URL)
	}
	return nil
}

// Enclave gives the port as the enclave is asked for it.
func (p *PortSpec) Enclave() enclave.Port {
	return enclave.Port{
		Number:      *p.Number,
		Transport:   backend.Transport(strings.ToLower(p.transport())),
		Application: p.App,
		Wait:        p.wait(),
		URL:         p.URL,
	}
}

// wait gives how long the port may take to open; 0 is not to wait. Nothing can
// be tried on an SCTP port, so it has no wait by default; one that is asked for
// is passed on, and refused by validation.
func (p *PortSpec) wait() time.Duration {
	if p.Wait.set == nil && p.transport() == "SCTP" {
		return 0
	}
	return p.Wait.duration()
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
	if !p.Wait.Never && (p.Wait.set != nil || p.wait() > 0) {
		add("wait", p.wait().String())
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
type PortWait struct {
	Never bool
	set   *time.Duration
}

// Wants names what is taken.
func (*PortWait) Wants() string { return "duration string or None" }

// UnpackStar reads it.
func (w *PortWait) UnpackStar(v starlark.Value) error {
	if v == starlark.None {
		w.Never = true
		return nil
	}
	s, ok := starlark.AsString(v)
	if !ok {
		return fmt.Errorf(`must be a duration such as "30s", or None, not %s`, v.Type())
	}
	d, err := lang.ParseDuration(s)
	if err != nil {
		return err
	}
	w.set = &d
	return nil
}

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
		Wait:      PortWait{Never: port.Wait == 0, set: &port.Wait},
		URL:       port.URL,
	}
	return p
}
