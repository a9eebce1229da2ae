// Package durabletest gives tests a disk that can be full.
package durabletest
