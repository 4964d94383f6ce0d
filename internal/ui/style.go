package ui

// This file defines colours. They are the sixteen that every terminal maps to
// its own theme; nothing here depends on a dark or light background.

// Style colours text, or leaves it alone where colours are off (zero value).
type Style struct{ on bool }

// Coloured is a Style that always colours, for tests and forced colour.
var Coloured = Style{on: true}

func (s Style) wrap(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Bold makes text bold.
func (s Style) Bold(text string) string { return s.wrap("1", text) }

// Dim makes text faint.
func (s Style) Dim(text string) string { return s.wrap("2", text) }

// Red makes text red.
func (s Style) Red(text string) string { return s.wrap("31", text) }

// Green makes text green.
func (s Style) Green(text string) string { return s.wrap("32", text) }

// Yellow makes text yellow.
func (s Style) Yellow(text string) string { return s.wrap("33", text) }

// Blue makes text blue.
func (s Style) Blue(text string) string { return s.wrap("34", text) }

// Cyan makes text cyan.
func (s Style) Cyan(text string) string { return s.wrap("36", text) }

// BoldRed makes text bold and red.
func (s Style) BoldRed(text string) string { return s.wrap("1;31", text) }

// labelCodes are the colours given to log prefixes in turn.
var labelCodes = [...]string{"34", "36", "32", "35", "33", "91", "94", "97"}

// Label colours the n-th of several labels, such as the services of a log.
func (s Style) Label(n int, text string) string {
	return s.wrap(labelCodes[n%len(labelCodes)], text)
}

// Status colours a status word by what it means.
func (s Style) Status(word string) string {
	switch word {
	case "RUNNING", "ok":
		return s.Green(word)
	case "STOPPED", "warn":
		return s.Yellow(word)
	case "EMPTY":
		return s.Cyan(word)
	case "fail":
		return s.Red(word)
	}
	return word
}
