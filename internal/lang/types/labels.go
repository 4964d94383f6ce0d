package types

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Labels are labels of a service's container (starlark spec §3.2.2): what both
// Docker and Kubernetes accept.
type Labels map[string]string

const (
	dockerLabelPrefix = "com.kurtosistech.custom."
	maxDockerLabelKey = 256
	maxKubernetesName = 63
)

var (
	dockerLabelKey  = lazily(`^[a-z0-9-._]+$`)
	kubernetesName  = lazily(`^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)
	kubernetesValue = lazily(`^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$`)
)

// lazily compiles a pattern at its first use: few scripts have labels.
func lazily(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// Validate checks every key and value.
func (l Labels) Validate() error {
	for _, key := range slices.Sorted(maps.Keys(l)) {
		if err := checkLabelKey(key); err != nil {
			return err
		}
		if value := l[key]; len(value) > maxKubernetesName || !kubernetesValue().MatchString(value) {
			return fmt.Errorf("has the value %q for %q; a value is letters, digits and '-_.' between them, at most %d", value, key, maxKubernetesName)
		}
	}
	return nil
}

func checkLabelKey(key string) error {
	if strings.TrimSpace(key) == "" {
		return fmt.Errorf("has an empty key")
	}
	docker := dockerLabelPrefix + key
	if len(docker) > maxDockerLabelKey || !dockerLabelKey().MatchString(docker) {
		return fmt.Errorf("has the key %q; a key is lower-case letters, digits and '-._'", key)
	}
	if len(key) > maxKubernetesName || !kubernetesName().MatchString(key) {
		return fmt.Errorf("has the key %q; a key begins and ends with a letter or digit and has at most %d characters", key, maxKubernetesName)
	}
	return nil
}
