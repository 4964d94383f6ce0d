// Package types holds the types of the language, one file each: what a script
// builds with ServiceConfig(…), PortSpec(…) and so on.
//
// Each is a Go struct declared with lang.Type, with rules over several fields in
// its Validate method, and the translation to what package enclave is asked for.
// The package must not know any instruction or backend.
package types

import "github.com/lepto-dev/lepto/internal/lang"

// All lists the types. Adding one is adding a file and a line here.
func All() []lang.Builtin {
	return []lang.Builtin{
		lang.Type[ConnectionConfig](),
		lang.Type[Directory](),
		lang.Type[ExecRecipe](),
		lang.Type[FaultStep](),
		lang.Type[GetHttpRequestRecipe](),
		lang.Type[GpuConfig](),
		lang.Type[ImageBuildSpec](),
		lang.Type[ImageSpec](),
		lang.Type[NixBuildSpec](),
		lang.Type[NormalPacketDelayDistribution](),
		lang.Type[PortSpec](),
		lang.Type[PostHttpRequestRecipe](),
		lang.Type[ReadyCondition](),
		lang.Type[Service](),
		lang.Type[ServiceConfig](),
		lang.Type[StoreSpec](),
		lang.Type[Toleration](),
		lang.Type[UniformPacketDelayDistribution](),
		lang.Type[UpdateServiceConfig](),
		lang.Type[User](),
		connections(),
	}
}
