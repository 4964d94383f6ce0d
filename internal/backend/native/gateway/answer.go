package gateway

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// This file answers DNS requests (RFC 1035) from the table. It does no I/O.

const (
	// ownDomain is the enclave's own top-level domain: names in it are never
	// asked of anyone else.
	ownDomain = "enclave"

	// ownTTL, in seconds, bounds how long a client believes an answer. Short,
	// since a service that is removed and added again may move.
	ownTTL = 5

	dnsHeaderLen = 12
)

// A disposition says what is to be done with a request.
type disposition int

const (
	discard disposition = iota // no request at all: say nothing
	respond                    // send the response
	ask                        // not ours: ask the host's name servers
)

// answer handles one request. response is set with respond alone.
func (x *hostIndex) answer(request []byte, subnet netip.Prefix) (response []byte, what disposition) {
	var p dnsmessage.Parser
	header, err := p.Start(request)
	if err != nil || header.Response {
		return nil, discard
	}
	if header.OpCode != 0 {
		return respondCode(header, nil, dnsmessage.RCodeNotImplemented), respond
	}
	question, err := p.Question()
	if err != nil {
		return respondCode(header, nil, dnsmessage.RCodeFormatError), respond
	}
	if question.Class != dnsmessage.ClassINET && question.Class != dnsmessage.ClassANY {
		return nil, ask
	}
	name := strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))
	if addr, ok := reverseName(name); ok {
		return x.answerReverse(header, question, addr, subnet)
	}
	short, own := strings.CutSuffix(name, "."+ownDomain)
	addr, found := x.byName[short]
	switch {
	case found:
		return respondAddress(header, question, addr), respond
	case own || name == ownDomain:
		return respondCode(header, &question, dnsmessage.RCodeNameError), respond
	}
	return nil, ask
}

// answerReverse gives the name of an address. Addresses of the enclave are
// nobody else's to name.
func (x *hostIndex) answerReverse(header dnsmessage.Header, q dnsmessage.Question, addr netip.Addr, subnet netip.Prefix) ([]byte, disposition) {
	if !subnet.Contains(addr) {
		return nil, ask
	}
	name, found := x.byAddr[addr]
	target, err := dnsmessage.NewName(name + "." + ownDomain + ".")
	if !found || err != nil {
		return respondCode(header, &q, dnsmessage.RCodeNameError), respond
	}
	return build(header, &q, dnsmessage.RCodeSuccess, func(b *dnsmessage.Builder) error {
		if q.Type != dnsmessage.TypePTR && q.Type != dnsmessage.TypeALL {
			return nil
		}
		return b.PTRResource(resourceHeader(q), dnsmessage.PTRResource{PTR: target})
	}), respond
}

// respondAddress answers for a name that exists. It has an IPv4 address and
// nothing else: any other type gets an answer without records, not an error,
// or resolvers would take the name for unknown (RFC 4074).
func respondAddress(header dnsmessage.Header, q dnsmessage.Question, addr netip.Addr) []byte {
	return build(header, &q, dnsmessage.RCodeSuccess, func(b *dnsmessage.Builder) error {
		if q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeALL {
			return nil
		}
		return b.AResource(resourceHeader(q), dnsmessage.AResource{A: addr.As4()})
	})
}

func resourceHeader(q dnsmessage.Question) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: ownTTL}
}

// respondCode answers without records.
func respondCode(header dnsmessage.Header, q *dnsmessage.Question, code dnsmessage.RCode) []byte {
	return build(header, q, code, func(*dnsmessage.Builder) error { return nil })
}

// build makes a response; fill adds the answers.
func build(request dnsmessage.Header, q *dnsmessage.Question, code dnsmessage.RCode, fill func(*dnsmessage.Builder) error) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID:                 request.ID,
		Response:           true,
		OpCode:             request.OpCode,
		Authoritative:      code == dnsmessage.RCodeSuccess || code == dnsmessage.RCodeNameError,
		RecursionDesired:   request.RecursionDesired,
		RecursionAvailable: true,
		RCode:              code,
	})
	b.EnableCompression()
	err := b.StartQuestions()
	if err == nil && q != nil {
		err = b.Question(*q)
	}
	if err == nil {
		err = b.StartAnswers()
	}
	if err == nil {
		err = fill(&b)
	}
	response, finishErr := b.Finish()
	if err != nil || finishErr != nil {
		return servFail(request)
	}
	return response
}

// servFail is the answer when there is none: a bare header.
func servFail(request dnsmessage.Header) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: request.ID, Response: true, OpCode: request.OpCode,
		RecursionDesired: request.RecursionDesired, RecursionAvailable: true,
		RCode: dnsmessage.RCodeServerFailure,
	})
	response, _ := b.Finish() // a header alone always fits
	return response
}

// refusal answers a request that could not be forwarded.
func refusal(request []byte) []byte {
	var p dnsmessage.Parser
	header, err := p.Start(request)
	if err != nil {
		return nil
	}
	question, err := p.Question()
	if err != nil {
		return servFail(header)
	}
	return respondCode(header, &question, dnsmessage.RCodeServerFailure)
}

// reverseName parses D.C.B.A.in-addr.arpa into A.B.C.D.
func reverseName(name string) (netip.Addr, bool) {
	digits, ok := strings.CutSuffix(name, ".in-addr.arpa")
	labels := strings.Split(digits, ".")
	if !ok || len(labels) != 4 {
		return netip.Addr{}, false
	}
	var b [4]byte
	for i, label := range labels {
		n, err := strconv.ParseUint(label, 10, 8)
		if err != nil || strconv.FormatUint(n, 10) != label {
			return netip.Addr{}, false
		}
		b[3-i] = byte(n)
	}
	return netip.AddrFrom4(b), true
}
