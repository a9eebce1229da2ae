package bucket

// Modes of S3's retention, and of the others'.
const (
	compliance = "COMPLIANCE"
	governance = "GOVERNANCE"
	locked     = "Locked"
	unlocked   = "Unlocked"
)
