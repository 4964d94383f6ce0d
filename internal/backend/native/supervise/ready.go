package supervise

// ReadyFD is the descriptor on which a supervisor tells how its start went.
const ReadyFD = 3

// Ready is what a supervisor tells once: it serves, or why not.
type Ready struct {
	State *State   `json:"state,omitempty"`
	Error *Failure `json:"error,omitempty"`
	Busy  bool     `json:"busy,omitempty"` // another supervisor is in charge
}
