package types

// UpdateServiceConfig is what plan.update_service changes.
type UpdateServiceConfig struct {
	_          struct{} `doc:"What update_service changes of a service that runs."`
	Subnetwork string   `star:"subnetwork" check:"nonempty" doc:"the subnetwork it moves to; \"default\" moves it back"`
}
