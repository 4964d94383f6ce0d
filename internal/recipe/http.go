package recipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// HTTP is a request to a port of a service, by plain http.
type HTTP struct {
	Method      string
	PortID      string
	Endpoint    string // appended to the URL as it is
	Body        string
	ContentType string // set last where not empty
	Headers     map[string]string
	Extract     map[string]string // name to jq query on the body
}

// maxBody bounds the body of a response that is kept, in bytes; a larger one is
// an error.
const maxBody = 64 << 20

// Fields lists body, code and the extractors.
func (h HTTP) Fields() []string { return withExtracts([]string{fieldBody, fieldCode}, h.Extract) }

// Texts lists the endpoint, the body, and the values of the headers.
func (h HTTP) Texts() []string {
	return append([]string{h.Endpoint, h.Body}, slices.Sorted(maps.Values(h.Headers))...)
}

// Run sends the request. The status is not judged.
func (h HTTP) Run(ctx context.Context, target Target, service string, fill Fill) (Result, error) {
	svc, err := target.Service(service)
	if err != nil {
		return Result{}, err
	}
	port, ok := svc.Config.Ports[h.PortID]
	if !ok {
		return Result{}, fault.New("E0305", "service %q has no port %q", service, h.PortID)
	}
	request, err := h.request(ctx, svc.IP, port.Number, fill)
	if err != nil {
		return Result{}, err
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return h.dial(ctx, target, svc.Name, svc.IP, addr)
		},
	}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return Result{}, h.failed(ctx, service, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return Result{}, h.failed(ctx, service, err)
	}
	if len(body) > maxBody {
		return Result{}, fault.New("E0509", "%s %s of service %q: the response has more than %d MiB", h.Method, h.Endpoint, service, maxBody>>20)
	}
	return h.result(response.StatusCode, string(body))
}

func (h HTTP) request(ctx context.Context, ip string, port uint16, fill Fill) (*http.Request, error) {
	body, err := fill(h.Body)
	if err != nil {
		return nil, err
	}
	endpoint, err := fill(h.Endpoint)
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("http://%s%s", net.JoinHostPort(ip, fmt.Sprint(port)), endpoint)
	request, err := http.NewRequestWithContext(ctx, h.Method, address, strings.NewReader(body))
	if err != nil {
		return nil, fault.New("E0509", "endpoint %q: %w", endpoint, err).WithHint("an endpoint begins with / or ?")
	}
	for _, key := range slices.Sorted(maps.Keys(h.Headers)) {
		value, err := fill(h.Headers[key])
		if err != nil {
			return nil, err
		}
		request.Header.Set(key, value)
		if strings.EqualFold(key, "Host") {
			request.Host = value
		}
	}
	if h.ContentType != "" {
		request.Header.Set("Content-Type", h.ContentType)
	}
	return request, nil
}

// dial opens the connection over the enclave's network: to the service itself,
// or, after a redirect, to the service that has the address by name or number.
func (h HTTP) dial(ctx context.Context, target Target, service, ip, addr string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", portText)
	if err != nil {
		return nil, err
	}
	if host != ip {
		other, err := target.Service(host)
		if err != nil {
			return nil, fmt.Errorf("the response leads to %s, which is no service of this enclave", host)
		}
		service = other.Name
	}
	return target.Dial(ctx, service, backend.TCP, uint16(port))
}

func (h HTTP) failed(ctx context.Context, service string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var urlErr *url.Error
	if errors.As(err, &urlErr) { // it repeats the method and the address
		err = urlErr.Err
	}
	var opErr *net.OpError
	if errors.As(err, &opErr) { // so do all around it
		err = opErr.Err
	}
	return fault.New("E0509", "%s %s of port %q of service %q: %w", h.Method, h.Endpoint, h.PortID, service, err)
}

func (h HTTP) result(status int, body string) (Result, error) {
	fields := map[string]starlark.Value{
		fieldCode: starlark.MakeInt(status),
		fieldBody: starlark.String(body),
	}
	text := fmt.Sprintf("Request had response code '%d' and body %s", status, syntax.Quote(body, false))
	if err := extractFrom(fields, h.Extract, func() (any, error) { return decodeBody(body) }); err != nil {
		return Result{Fields: fields, Text: text}, err
	}
	if len(h.Extract) > 0 {
		text += ", with extracted fields:"
		for _, key := range slices.Sorted(maps.Keys(h.Extract)) {
			text += fmt.Sprintf("\n'%s%s': %s", extractField, key, fields[extractField+key])
		}
	}
	return Result{Fields: fields, Text: text}, nil
}
