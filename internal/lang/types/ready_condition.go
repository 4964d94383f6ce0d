package types

import (
	"errors"
	"time"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/recipe"
)

// ReadyCondition says when a service is ready.
type ReadyCondition struct {
	_         struct{}  `doc:"When a service is ready: a recipe is run until a field of its result fits."`
	Recipe    AnyRecipe `star:"recipe,deep" doc:"what to run or ask"`
	Field     string    `star:"field" check:"nonempty" doc:"which field of the result: code, output, body or extract.<name>"`
	Assertion string    `star:"assertion" check:"enum===|!=|>=|>|<=|<|IN|NOT_IN" doc:"how it must compare"`
	Target    Target    `star:"target_value,late" doc:"with what"`
	Interval  string    `star:"interval,?" check:"duration?" doc:"the first pause between two tries, not below zero; 1s if not given"`
	Timeout   string    `star:"timeout,?" check:"duration?" doc:"how long it may take; 15m if not given"`
}

// Validate checks what the condition compares.
func (r *ReadyCondition) Validate() error {
	if d, err := orDefault(r.Interval, time.Second); err != nil || d < 0 {
		return errors.New("can't have an interval below zero")
	}
	return r.Target.Fits(r.Assertion)
}

func (r *ReadyCondition) condition() recipe.Condition {
	return recipe.Condition{Field: r.Field, Assertion: r.Assertion, Target: r.Target.Value}
}

// Wait gives the wait that the condition asks for.
func (r *ReadyCondition) Wait() recipe.Wait {
	interval, _ := orDefault(r.Interval, time.Second) // both parsed before
	timeout, _ := orDefault(r.Timeout, 15*time.Minute)
	return recipe.Wait{Recipe: r.Recipe.Recipe, Condition: r.condition(), Interval: interval, Timeout: max(timeout, 0)}
}

func orDefault(text string, unset time.Duration) (time.Duration, error) {
	if text == "" {
		return unset, nil
	}
	return lang.ParseDuration(text)
}
