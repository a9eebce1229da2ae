package audit

// Erase takes from an entry what says whose call it was, and leaves what evidence
// needs: the event, the hashes, tokens, times, class and flags, and the ids under
// which the provider and a tracing system know the call. leaf is the hash of the entry in the ledger, which
// the erased form stands for. An entry that is erased stays as it is.
func (r *Record) Erase(leaf string) {
	if r.Erased != "" {
		return
	}
	r.Erased = leaf
	r.UserID, r.SessionID, r.IPAddress = "", "", ""
	r.IdentityAssurance, r.Department, r.AgentName = "", "", ""
	r.Call.ClientKey, r.Call.BatchItem = "", ""
	r.Source.PromptID, r.Source.UserRank, r.Source.SessionRank = "", 0, 0
	r.Complete()
}

// erasable says whether Erase takes a required field, so that its absence of an
// erased record is no gap.
func erasable(field string) bool { return field == "user_id" || field == "session_id" }
