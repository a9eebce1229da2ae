package ledger

// maxEpoch is the longest "/<epoch>" that a log's name can end with.
const maxEpoch = "/9007199254740991"

// CheckOrigin tells what keeps a text from being Options.Origin.
func CheckOrigin(origin string) error {
	if err := checkOrigin(origin); err != nil {
		return err
	}
	return checkOrigin(origin + maxEpoch)
}
