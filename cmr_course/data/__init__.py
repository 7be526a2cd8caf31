"""CMRxRecon trees and cine series: read, write, validate."""
