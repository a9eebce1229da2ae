// Package injection finds attacks on a language model in the text that is sent
// to it: instructions that override earlier ones, requests for the system
// prompt, personas without limits, forged chat templates, data carried out by
// links, and tools misused by text that came in as data.
//
// It holds no list of known attack sentences. A vocabulary assigns words of
// nine languages to classes (verbs that set aside, things that are set aside,
// who is spoken to, …), and rules speak of classes, their order and their
// distance, so that a wording nobody has seen is found by how it is built. Each
// rule adds evidence to a flag; a flag is raised when the evidence reaches one.
// Text that talks about attacks, asks how to defend against them or quotes them
// lowers the evidence.
//
// Only windows around the keywords of [Keywords] are looked at; the caller finds
// those in one pass together with everything else it looks for. Time is linear
// in the text whatever it holds.
//
// [Expand] undoes what hides text from a reader or a filter: invisible and
// direction-changing characters, look-alike letters, leet, encodings.
package injection
