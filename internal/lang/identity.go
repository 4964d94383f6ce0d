package lang

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/plan"
)

// This file gives calls their ids. They are not random: a call that says the
// same in a later run of the enclave is the same step, with the same value
// slots. That is what lets a re-run find what is done already.

// stepID gives the id of a call: made of the enclave, of what the call says but
// for its description, and of how many calls before it have said just that.
func (in *interpretation) stepID(c plan.Call, described bool) string {
	parts := []string{in.req.Seed, c.Name}
	args := c.Args
	if described {
		args = args[:len(args)-1] // the description is the last parameter of all
	}
	for _, arg := range args {
		parts = append(parts, arg.Name, arg.Text)
	}
	said := stableID(parts...)
	in.said[said]++
	return stableID(said, strconv.Itoa(in.said[said]))
}

// newArtifactName makes up a name that no artifact of the run has so far, out of
// an id. The digits keep it apart from those of other packages in the enclave.
func (in *interpretation) newArtifactName(id string) string {
	taken := func(name string) bool { return in.artifacts[name] }
	if in.req.NewArtifactName == nil {
		digest := sha256.Sum256([]byte(id))
		pick := rand.New(rand.NewPCG(binary.BigEndian.Uint64(digest[:]), 0))
		return enclave.RandomName(pick.IntN, func(string) bool { return false }) + "-" + id[:4]
	}
	name := in.req.NewArtifactName()
	for i := 1; taken(name); i++ {
		name = fmt.Sprintf("%s-%d", in.req.NewArtifactName(), i)
	}
	return name
}

// stableID makes an id of texts: a hash in the form of a random UUID (version 4)
// without hyphens.
func stableID(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part)) // never fails
	}
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return hex.EncodeToString(b)
}
